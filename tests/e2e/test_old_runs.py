"""Runs, settings and galleries of every version so far are read for ever after."""

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from reid.adapters.galleries.sqlite.transaction import SCHEMA_VERSION
from reid.adapters.safetensors_file import read_checkpoint, write_checkpoint
from reid.domain.values.checkpoints import Checkpoint
from tests.e2e.processes import offer_quick_encoder
from tests.e2e.program import as_json, run

FIXTURES = Path(__file__).parents[1] / "fixtures"
VERSIONS = sorted(path.name for path in FIXTURES.iterdir() if path.is_dir())


@pytest.fixture(params=VERSIONS)
def old(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """Work in a copy of what a version wrote; its paths are relative."""
    folder = tmp_path / "old"
    shutil.copytree(FIXTURES / request.param, folder)
    offer_quick_encoder(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(folder)
    yield folder
    sys.modules.pop("reid_quick", None)


def test_there_is_a_fixture_of_the_present_version() -> None:
    assert "v1" in VERSIONS
    assert (FIXTURES / "v1" / "kept" / f"format-{SCHEMA_VERSION}").is_dir()


def test_an_old_run_is_evaluated_to_the_scores_that_it_recorded(old: Path) -> None:
    recorded = json.loads((old / "finished" / "evaluation.json").read_text())["report"]
    found = as_json(run("evaluate", "--config", "settings.toml", "--run", "finished", "--json"))
    assert found["report"]["cmc"] == pytest.approx(recorded["cmc"])
    precision = recorded["mean_average_precision"]
    assert found["report"]["mean_average_precision"] == pytest.approx(precision)


def test_an_old_interrupted_run_is_resumed_to_what_the_finished_one_came_to(old: Path) -> None:
    run("train", "--config", "settings.toml", "--run", "interrupted", "--resume")
    resumed, finished = (
        read_checkpoint(old / name / "encoder.safetensors") for name in ("interrupted", "finished")
    )
    assert resumed.tensors.keys() == finished.tensors.keys()
    # Close, not equal: another machine rounds in another way.
    for name, tensor in finished.tensors.items():
        assert torch.allclose(resumed.tensors[name], tensor, atol=1e-3), name


def test_an_old_run_whose_last_state_is_damaged_is_resumed_from_the_one_before(old: Path) -> None:
    state = old / "interrupted" / "encoder-state.safetensors"
    content = bytearray(state.read_bytes())
    content[-1] ^= 1
    state.write_bytes(content)
    resumed = run("train", "--config", "settings.toml", "--run", "interrupted", "--resume")
    assert "encoder-state is damaged: going on from the one saved before it, of epoch 1" in (
        resumed.stderr
    )
    assert (old / "interrupted" / "encoder.safetensors").exists()


@pytest.mark.usefixtures("old")
def test_an_old_gallery_is_imported_and_answers() -> None:
    run("gallery", "import", "gallery", "gallery.archive")
    answers = as_json(
        run("identify", "people/query", "--gallery", "gallery", "--run", "finished", "--json")
    )
    assert len(answers["identifications"]) == 4
    assert json.loads(run("gallery", "check", "gallery", "--json").stdout)["faults"] == []


@pytest.mark.parametrize("name", sorted(path.name for path in FIXTURES.glob("v*/kept/*")))
def test_an_old_gallery_in_a_folder_answers_and_is_changed(old: Path, name: str) -> None:
    kept = old / "kept" / name
    answers = as_json(
        run("identify", "people/query", "--gallery", kept, "--run", "finished", "--json")
    )
    assert len(answers["identifications"]) == answers["num_gallery"] == 4
    run("gallery", "add", kept, "people/query", "--run", "finished")
    run("gallery", "forget", kept, "0006")
    content = json.loads(run("gallery", "list", kept, "--json").stdout)
    assert [(one["label"], one["num_images"]) for one in content["labels"]] == [("0007", 4)]
    assert content["content"]["num_images"] == 4
    assert json.loads(run("gallery", "check", kept, "--json").stdout)["faults"] == []


def test_old_weights_start_a_new_training(old: Path) -> None:
    run(
        "train", "--config", "settings.toml", "--run", "new", "--weights",
        "finished/encoder.safetensors",
    )  # fmt: skip
    assert (old / "new" / "encoder.safetensors").exists()


def as_of_version_9(path: Path) -> None:
    found = read_checkpoint(path)
    write_checkpoint(path, Checkpoint(found.tensors, {**found.header, "version": 9}))


RESUME = ("train", "--config", "settings.toml", "--run", "interrupted", "--resume")


@pytest.mark.parametrize(
    ("file", "code", "arguments"),
    [
        ("interrupted/prompts.safetensors", 5, RESUME),
        (
            "finished/encoder.safetensors",
            5,
            ("evaluate", "--config", "settings.toml", "--run", "finished"),
        ),
    ],
)
def test_a_newer_checkpoint_is_refused_by_both_versions(
    old: Path, file: str, code: int, arguments: tuple[str, ...]
) -> None:
    as_of_version_9(old / file)
    said = run(*arguments, expect=code).stderr
    assert "version 9" in said
    assert "this program reads" in said


def test_a_newer_export_of_a_gallery_is_refused(old: Path) -> None:
    path = old / "gallery.archive"
    path.write_bytes(path.read_bytes().replace(b'"version": 1', b'"version": 9'))
    said = run("gallery", "import", "gallery", path, expect=8).stderr
    assert "is of version 9, this program reads 1" in said


def test_a_newer_run_and_newer_settings_are_refused_by_both_versions(old: Path) -> None:
    manifest = old / "interrupted" / "run.json"
    manifest.write_text(manifest.read_text().replace('"version": 1', '"version": 9'))
    assert "of version 9, and this program reads up to version 1" in run(*RESUME, expect=5).stderr
    settings = old / "settings.toml"
    settings.write_text(settings.read_text().replace("version = 1", "version = 9"))
    said = run("settings", "--config", settings, expect=3).stderr
    assert "is of version 9, and this program reads up to version 1" in said


@pytest.mark.parametrize("version", ['"one"', "0", "true", "1.5"])
def test_a_version_that_is_none_is_refused(old: Path, version: str) -> None:
    settings = old / "settings.toml"
    settings.write_text(settings.read_text().replace("version = 1", f"version = {version}"))
    assert "version is not a version" in run("settings", "--config", settings, expect=3).stderr


def test_a_newer_evaluation_is_refused_by_both_versions(old: Path) -> None:
    record = old / "finished" / "evaluation.json"
    record.write_text(record.read_text().replace('"version": 1', '"version": 9'))
    said = run("compare", "finished", "finished", expect=5).stderr
    assert "of version 9, and this program reads up to version 1" in said
