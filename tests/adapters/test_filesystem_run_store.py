"""What is peculiar to runs in folders."""

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from reid.adapters.runs.filesystem import FilesystemRunStore
from reid.adapters.safetensors_file import read_checkpoint, write_checkpoint
from reid.domain.errors import CheckpointError
from reid.domain.values.checkpoints import Checkpoint
from reid.ports.runs import RunMode

SMALL = Checkpoint(tensors={"a": torch.arange(6.0)}, header={"epoch": 1})


def test_the_manifest_says_what_decides_the_run_and_what_it_ran_with(tmp_path: Path) -> None:
    FilesystemRunStore(tmp_path / "run").begin({"seed": 3}, {"torch": "2.8"}, mode=RunMode.NEW)
    manifest = json.loads((tmp_path / "run" / "run.json").read_text())
    assert manifest == {"version": 1, "decisive": {"seed": 3}, "circumstances": {"torch": "2.8"}}


def test_every_differing_value_is_named(tmp_path: Path) -> None:
    store = FilesystemRunStore(tmp_path)
    store.begin({"seed": 3, "epochs": 5, "same": 1}, {}, mode=RunMode.NEW)
    with pytest.raises(CheckpointError) as caught:
        store.begin({"seed": 4, "epochs": 6, "same": 1}, {}, mode=RunMode.GO_ON)
    assert "epochs: 5 then, 6 now" in str(caught.value)
    assert "seed: 3 then, 4 now" in str(caught.value)
    assert "same" not in str(caught.value).split(":\n")[1]


@pytest.mark.parametrize("text", ['{"decisive"', '{"decisive": []}', "[]", "{}"])
def test_a_damaged_manifest_is_an_error_that_names_it(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"run\.json cannot be read"):
        FilesystemRunStore(tmp_path).begin({}, {}, mode=RunMode.GO_ON)


@pytest.mark.parametrize("kept", [0, 5, 40, -1])
def test_a_truncated_checkpoint_is_refused(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "state.safetensors"
    write_checkpoint(path, SMALL)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match=r"state\.safetensors"):
        FilesystemRunStore(tmp_path).load("state")


def test_a_foreign_safetensors_file_is_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "state.safetensors")
    with pytest.raises(CheckpointError, match="reid did not write it"):
        read_checkpoint(tmp_path / "state.safetensors")


def test_a_failed_write_leaves_the_last_checkpoint_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.safetensors"
    write_checkpoint(path, SMALL)

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(CheckpointError, match="No space left on device"):
        write_checkpoint(path, Checkpoint(tensors={"a": torch.zeros(1)}, header={"epoch": 2}))
    assert read_checkpoint(path).header == {"epoch": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.safetensors"]


def test_a_place_that_cannot_be_made_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot be made"):
        FilesystemRunStore(tmp_path / "file" / "run").begin({}, {}, mode=RunMode.NEW)


def test_replacing_a_run_leaves_everything_else_alone(tmp_path: Path) -> None:
    store = FilesystemRunStore(tmp_path)
    store.begin({"seed": 1}, {}, mode=RunMode.NEW)
    store.save("encoder", SMALL)
    for name in ("notes.txt", "mine.json", "best.safetensors"):
        (tmp_path / name).write_text("mine")
    store.begin({"seed": 2}, {}, mode=RunMode.REPLACE)
    assert store.load("encoder") is None
    assert json.loads((tmp_path / "run.json").read_text())["decisive"] == {"seed": 2}
    for name in ("notes.txt", "mine.json", "best.safetensors"):
        assert (tmp_path / name).read_text() == "mine"


def test_checkpoints_without_a_manifest_are_nobody_s_own(tmp_path: Path) -> None:
    store = FilesystemRunStore(tmp_path)
    store.save("encoder", SMALL)
    with pytest.raises(CheckpointError, match=r"encoder\.safetensors.*--overwrite"):
        store.begin({"seed": 1}, {}, mode=RunMode.NEW)
    with pytest.raises(CheckpointError, match="no run to go on with"):
        store.begin({"seed": 1}, {}, mode=RunMode.GO_ON)
