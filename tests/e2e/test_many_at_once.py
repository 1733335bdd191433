"""Processes that work beside each other, each as if it were alone."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from reid.adapters.runs.records import FilesystemRunRecords
from reid.adapters.safetensors_file import read_checkpoint
from reid.domain.errors import CheckpointError
from tests.e2e.processes import QUICK, offer_quick_encoder, spawn, training

WEIGHTS = ("prompts.safetensors", "encoder.safetensors")


@pytest.fixture(scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plugins")
    offer_quick_encoder(folder)
    return folder


@pytest.fixture(scope="module")
def alone(few: Path, plugins: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing else went on beside."""
    directory = tmp_path_factory.mktemp("runs") / "alone"
    output = directory.parent / "alone.txt"
    process = spawn(training(few, directory, settings=QUICK), output, plugins=plugins)
    process.join()
    assert process.exitcode == 0, output.read_text()
    return directory


def weights_of(directory: Path) -> list[bytes]:
    return [(directory / name).read_bytes() for name in WEIGHTS]


def test_two_trainings_in_two_folders_end_as_each_alone(
    few: Path, plugins: Path, alone: Path, tmp_path: Path
) -> None:
    folders = [tmp_path / "one", tmp_path / "other"]
    output = tmp_path / "output.txt"
    processes = [
        spawn(training(few, folder, settings=QUICK), output, plugins=plugins) for folder in folders
    ]
    for process in processes:
        process.join()
        assert process.exitcode == 0, output.read_text()
    for folder in folders:
        assert weights_of(folder) == weights_of(alone)


def test_whatever_is_read_of_a_run_while_it_is_trained_is_whole(
    few: Path, plugins: Path, alone: Path, tmp_path: Path
) -> None:
    directory, output = tmp_path / "run", tmp_path / "output.txt"
    process = spawn(training(few, directory, settings=QUICK), output, plugins=plugins)
    epochs: set[object] = set()
    records = FilesystemRunRecords(directory)
    while process.is_alive():
        records.manifest()
        records.progress()
        for path in directory.glob("*-state.safetensors"):
            epochs.add(epoch_in(path))
    assert process.exitcode == 0, output.read_text()
    assert len(epochs) > 1
    assert weights_of(directory) == weights_of(alone)


def epoch_in(path: Path) -> object:
    """Read a state's epoch; None where the stage ended between the look and the reading."""
    try:
        return read_checkpoint(path).header["epoch"]
    except CheckpointError as error:
        if not str(error).endswith("does not exist"):
            raise
        return None


def test_a_run_is_evaluated_while_it_is_taken_up_again(
    few: Path, plugins: Path, alone: Path, tmp_path: Path
) -> None:
    directory, output = tmp_path / "run", tmp_path / "output.txt"
    shutil.copytree(alone, directory)
    evaluation = [str(part) for part in ("evaluate", "--run", directory, "--data", few)]
    both = [
        spawn(training(few, directory, "--resume", settings=QUICK), output, plugins=plugins),
        *(spawn(evaluation, output, plugins=plugins) for _ in range(2)),
    ]
    for process in both:
        process.join()
        assert process.exitcode == 0, output.read_text()
    reports = [
        json.loads((folder / "evaluation.json").read_text())["report"]
        for folder in (directory, alone)
    ]
    assert reports[0] == reports[1]
    assert weights_of(directory) == weights_of(alone)


def test_several_identify_in_one_gallery_and_answer_alike(
    few: Path, plugins: Path, alone: Path, tmp_path: Path
) -> None:
    gallery, queries = tmp_path / "gallery", few / "query"
    outputs = [tmp_path / f"{number}.json" for number in range(4)]
    build = ["gallery", "build", gallery, few / "bounding_box_test", "--run", alone]
    builder = spawn([str(part) for part in build], tmp_path / "built.txt", plugins=plugins)
    builder.join()
    assert builder.exitcode == 0, (tmp_path / "built.txt").read_text()
    identify = ["identify", queries, "--gallery", gallery, "--run", alone, "--json"]
    processes = [
        spawn([str(part) for part in identify], output, plugins=plugins) for output in outputs
    ]
    for process, output in zip(processes, outputs, strict=True):
        process.join()
        assert process.exitcode == 0, output.read_text()
    answers: list[Any] = [json_in(output)["identifications"] for output in outputs]
    assert len(answers[0]) == 4
    assert all(each == answers[0] for each in answers)


def json_in(output: Path) -> dict[str, object]:
    """Read the object in what a program said, progress before it left out."""
    text = output.read_text()
    found: dict[str, object] = json.loads(text[text.index("{\n") :])
    return found
