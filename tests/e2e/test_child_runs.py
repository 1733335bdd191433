"""A finished run goes on in a child run, which names it."""

from pathlib import Path

import pytest
import torch

from reid.adapters.safetensors_file import read_checkpoint
from tests.e2e.program import as_json, draw_people, run


def go_on(parent: Path, child: Path, data: Path, *arguments: str | Path, expect: int = 0) -> str:
    result = run(
        "train", "--stage", "encoder", "--parent", parent, "--run", child, "--data", data,
        *arguments, expect=expect,
    )  # fmt: skip
    return result.stderr


@pytest.fixture(scope="module")
def child(trained: Path, people: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("child") / "run"
    go_on(trained, folder, people, "--set", "finetuning.epochs=2")
    return folder


def test_a_child_starts_from_its_parent_s_tower_and_classifiers(
    trained: Path, people: Path, tmp_path: Path
) -> None:
    still = ("--set", "finetuning.learning_rate=1e-12", "--set", "finetuning.epochs=1")
    go_on(trained, tmp_path / "run", people, *still)
    before, after = (
        read_checkpoint(run / "encoder.safetensors").tensors for run in (trained, tmp_path / "run")
    )
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        if not name.endswith(("running_mean", "running_var", "num_batches_tracked")):
            torch.testing.assert_close(after[name], tensor, atol=1e-6, rtol=0)


def test_epochs_add_up(trained: Path, child: Path) -> None:
    epochs = [
        read_checkpoint(run / "encoder.safetensors").header["epochs"] for run in (trained, child)
    ]
    assert epochs == [3, 5]


def test_a_child_names_its_parent(trained: Path, child: Path) -> None:
    header = read_checkpoint(child / "encoder.safetensors").header
    parent = header["parent"]
    assert isinstance(parent, dict)
    assert (parent["run"], parent["epochs"]) == (str(trained), 3)
    assert as_json(run("settings", "--json", "--set", f"run.parent={trained}"))[
        "finetuning.identities_per_batch"
    ] == {"value": 4, "origin": f"parent run {trained}"}


def test_a_child_can_learn_other_people(trained: Path, tmp_path: Path) -> None:
    others = draw_people(
        tmp_path / "others", identities=8, test_identities=4, images=2, distractors=0
    )
    arguments = ("--set", "finetuning.image_to_text_weight=0", "--set", "finetuning.epochs=1")
    go_on(trained, tmp_path / "run", others, *arguments)
    tensors = read_checkpoint(tmp_path / "run" / "encoder.safetensors").tensors
    assert tensors["classifier.weight"].shape[0] == 8


def test_a_resumed_child_ends_in_the_same_bytes(
    trained: Path, people: Path, child: Path, tmp_path: Path
) -> None:
    one = tmp_path / "run"
    go_on(trained, one, people, "--set", "finetuning.epochs=2")
    go_on(trained, one, people, "--set", "finetuning.epochs=2", "--resume")
    again, first = (read_checkpoint(run / "encoder.safetensors").tensors for run in (one, child))
    assert all(torch.equal(again[name], first[name]) for name in first)


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("--weights", "random"), 3, "--parent and --weights name two encoders"),
        (("--prompts", "elsewhere"), 3, "exclude each other"),
        (("--stage", "all"), 3, "the encoder's stage alone"),
    ],
)
def test_what_contradicts_a_parent_is_refused(
    trained: Path,
    people: Path,
    tmp_path: Path,
    arguments: tuple[str, ...],
    status: int,
    words: str,
) -> None:
    said = go_on(trained, tmp_path / "run", people, *arguments, expect=status)
    assert words in said
    assert not (tmp_path / "run").exists()


def test_a_parent_that_is_no_finished_run_is_refused(people: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    said = go_on(tmp_path / "empty", tmp_path / "run", people, expect=5)
    assert "holds no run that can be read" in said
    (tmp_path / "empty" / "run.json").write_text("{}")
    said = go_on(tmp_path / "empty", tmp_path / "run", people, expect=5)
    assert "is not the manifest of a run" in said
