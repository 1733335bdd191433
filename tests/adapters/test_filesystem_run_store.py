"""What is peculiar to runs in folders."""

import json
import os
import stat
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from reid.adapters.runs.filesystem import FilesystemRunStore
from reid.adapters.runs.records import FilesystemRunRecords
from reid.adapters.safetensors_file import read_checkpoint, write_checkpoint
from reid.domain.errors import CheckpointError
from reid.domain.values.checkpoints import Checkpoint
from reid.ports.runs import RunMode

SMALL = Checkpoint(tensors={"a": torch.arange(6.0)}, header={"epoch": 1})


def test_the_manifest_says_what_decides_the_run_and_what_it_ran_with(tmp_path: Path) -> None:
    FilesystemRunStore(tmp_path / "run").begin({"seed": 3}, {"torch": "2.8"}, mode=RunMode.NEW)
    manifest = json.loads((tmp_path / "run" / "run.json").read_text())
    assert manifest == {"version": 1, "fingerprint": {"seed": 3}, "environment": {"torch": "2.8"}}


def test_every_differing_value_is_named(tmp_path: Path) -> None:
    store = FilesystemRunStore(tmp_path)
    store.begin({"seed": 3, "epochs": 5, "same": 1}, {}, mode=RunMode.NEW)
    with pytest.raises(CheckpointError) as caught:
        store.begin({"seed": 4, "epochs": 6, "same": 1}, {}, mode=RunMode.GO_ON)
    assert "epochs: 5 then, 6 now" in str(caught.value)
    assert "seed: 3 then, 4 now" in str(caught.value)
    assert "same" not in str(caught.value).split(":\n")[1]


@pytest.mark.parametrize("text", ['{"fingerprint"', '{"fingerprint": []}', "[]", "{}"])
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


def test_no_flipped_bit_of_a_checkpoint_passes_for_what_was_saved(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    write_checkpoint(path, SMALL)
    whole = path.read_bytes()
    num_read = 0
    for place in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[place // 8] ^= 1 << place % 8
        path.write_bytes(flipped)
        try:
            found = read_checkpoint(path)
        except CheckpointError:
            continue
        num_read += 1
        assert found.header == SMALL.header
        assert torch.equal(found.tensors["a"], SMALL.tensors["a"])
    assert num_read < len(whole)


def test_the_same_checkpoint_becomes_the_same_bytes(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.safetensors" for number in range(20)]
    for path in paths:
        write_checkpoint(path, SMALL)
    assert len({path.read_bytes() for path in paths}) == 1


@pytest.mark.parametrize("changes", [{}, {"content_digesu": "0"}])
def test_a_checkpoint_without_a_digest_is_refused(tmp_path: Path, changes: dict[str, str]) -> None:
    path = tmp_path / "state.safetensors"
    header = {"format": "reid-state", "epoch": 1, "losses": {}}
    save_file({"a": torch.zeros(1)}, path, {"reid": json.dumps(header | changes)})
    with pytest.raises(CheckpointError, match="its digest is missing"):
        read_checkpoint(path)


def test_a_newer_checkpoint_and_a_newer_run_are_refused_by_both_versions(tmp_path: Path) -> None:
    store = FilesystemRunStore(tmp_path)
    store.begin({}, {}, mode=RunMode.NEW)
    store.save("state", Checkpoint(tensors={"a": torch.zeros(1)}, header={"version": 2}))
    with pytest.raises(CheckpointError, match=r"of version 2, .* up to version 1"):
        store.load("state")
    manifest = json.loads((tmp_path / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps(manifest | {"version": 7}))
    with pytest.raises(CheckpointError, match=r"of version 7, .* up to version 1"):
        store.begin({}, {}, mode=RunMode.GO_ON)
    with pytest.raises(CheckpointError, match=r"of version 7, .* up to version 1"):
        FilesystemRunRecords(tmp_path).manifest()


def test_the_state_before_the_last_is_kept_and_no_older_one(tmp_path: Path) -> None:
    store = FilesystemRunStore(tmp_path)
    store.begin({}, {}, mode=RunMode.NEW)
    for epoch in (1, 2, 3):
        store.save(
            "a-state", Checkpoint({"a": torch.zeros(1)}, {"epoch": epoch}), keep_previous=True
        )
    newest, before = store.load("a-state"), store.load_previous("a-state")
    assert newest is not None
    assert before is not None
    assert (newest.header["epoch"], before.header["epoch"]) == (3, 2)
    assert len(list(tmp_path.glob("*a-state*"))) == 2
    store.discard("a-state")
    assert not list(tmp_path.glob("*a-state*"))


def test_what_killed_trainings_left_half_written_goes_when_the_run_is_taken_up(
    tmp_path: Path,
) -> None:
    store = FilesystemRunStore(tmp_path)
    store.begin({}, {}, mode=RunMode.NEW)
    for name in (".encoder-state.safetensors.1.tmp", ".run.json.1.tmp", ".mine.1.tmp"):
        (tmp_path / name).write_text("half")
    store.begin({}, {}, mode=RunMode.GO_ON)
    assert [path.name for path in tmp_path.glob(".*.tmp")] == [".mine.1.tmp"]


def test_what_an_evaluation_left_half_written_goes_unless_it_is_still_at_work(
    tmp_path: Path,
) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    store = FilesystemRunStore(tmp_path)
    store.begin({}, {}, mode=RunMode.NEW)
    at_work = f".evaluation.json.{os.getpid()}.tmp"
    for name in (f".evaluation-reranked.queries.json.{ended.pid}.tmp", at_work):
        (tmp_path / name).write_text("half")
    store.begin({}, {}, mode=RunMode.GO_ON)
    assert [path.name for path in tmp_path.glob(".*.tmp")] == [at_work]


def test_a_folder_belongs_to_one_training_at_a_time(tmp_path: Path) -> None:
    one, other = FilesystemRunStore(tmp_path), FilesystemRunStore(tmp_path)
    one.begin({"seed": 1}, {}, mode=RunMode.NEW)
    for mode in (RunMode.GO_ON, RunMode.REPLACE):
        with pytest.raises(CheckpointError, match=rf"in use .*process {os.getpid()} on"):
            other.begin({"seed": 1}, {}, mode=mode)
    one.save("encoder", SMALL)
    assert other.load("encoder") is not None
    one.release()
    other.begin({"seed": 1}, {}, mode=RunMode.GO_ON)
    other.release()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["encoder.safetensors", "run.json"]


def test_a_refused_training_holds_no_folder(tmp_path: Path) -> None:
    store = FilesystemRunStore(tmp_path)
    store.begin({"seed": 1}, {}, mode=RunMode.NEW)
    store.release()
    with pytest.raises(CheckpointError):
        store.begin({"seed": 2}, {}, mode=RunMode.GO_ON)
    FilesystemRunStore(tmp_path).begin({"seed": 1}, {}, mode=RunMode.GO_ON)


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
    with pytest.raises(
        CheckpointError,
        match=r"cannot be made: .*; make the folder above it writable or name another",
    ):
        FilesystemRunStore(tmp_path / "file" / "run").begin({}, {}, mode=RunMode.NEW)


def test_replacing_a_run_leaves_everything_else_alone(tmp_path: Path) -> None:
    store = FilesystemRunStore(tmp_path)
    store.begin({"seed": 1}, {}, mode=RunMode.NEW)
    store.save("encoder", SMALL)
    for name in ("notes.txt", "mine.json", "best.safetensors"):
        (tmp_path / name).write_text("mine")
    store.begin({"seed": 2}, {}, mode=RunMode.REPLACE)
    assert store.load("encoder") is None
    assert json.loads((tmp_path / "run.json").read_text())["fingerprint"] == {"seed": 2}
    for name in ("notes.txt", "mine.json", "best.safetensors"):
        assert (tmp_path / name).read_text() == "mine"


def test_checkpoints_without_a_manifest_are_nobody_s_own(tmp_path: Path) -> None:
    store = FilesystemRunStore(tmp_path)
    store.save("encoder", SMALL)
    with pytest.raises(CheckpointError, match=r"encoder\.safetensors.*overwrite it"):
        store.begin({"seed": 1}, {}, mode=RunMode.NEW)
    with pytest.raises(CheckpointError, match="no run to go on with"):
        store.begin({"seed": 1}, {}, mode=RunMode.GO_ON)


def test_a_file_is_flushed_before_its_name_is_given_and_the_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flush, replace = os.fsync, Path.replace
    done: list[str] = []

    def note_flush(handle: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        flush(handle)

    def note_name(path: Path, target: Path) -> Path:
        done.append("name")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", note_flush)
    monkeypatch.setattr(Path, "replace", note_name)
    write_checkpoint(tmp_path / "some.safetensors", Checkpoint(tensors={}, header={}))
    assert done == ["file", "name", "folder"]
