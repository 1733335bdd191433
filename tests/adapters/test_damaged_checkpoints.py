"""A training goes on from the newest good state, whatever became of the last one's file."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from reid.adapters.runs.filesystem import FilesystemRunStore
from reid.adapters.safetensors_file import read_checkpoint
from reid.domain.errors import CheckpointError
from reid.domain.events import CheckpointDamaged
from reid.domain.values.checkpoints import Checkpoint
from reid.ports.runs import RunMode
from tests.fakes.run_store import FakeRunStore
from tests.services.training import Laboratory, PowerCut, PowerFailureError

Damage = Callable[[Path], object]


def cut(path: Path, *, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


def flip(path: Path, *, place: Callable[[bytes], int]) -> None:
    content = bytearray(path.read_bytes())
    content[place(bytes(content))] ^= 1
    path.write_bytes(content)


def start_of_tensors(content: bytes) -> int:
    return 8 + int.from_bytes(content[:8], "little")


def become_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def become_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


DAMAGES: dict[str, Damage] = {
    "cut in its tensors": lambda path: cut(path, share=0.9),
    "cut in its header": lambda path: cut(path, share=0.01),
    "empty": lambda path: cut(path, share=0),
    "missing": Path.unlink,
    "a dangling link": become_link,
    "a pipe": become_pipe,
    "some text": lambda path: path.write_text("no checkpoint at all"),
    "of another stage": lambda path: shutil.copy(path.with_name("other.safetensors"), path),
    "flipped in its length": lambda path: flip(path, place=lambda _: 0),
    "flipped in its header": lambda path: flip(path, place=lambda content: content.find(b"epoch")),
    "flipped in its digest": lambda path: flip(
        path, place=lambda content: content.find(b"content_digest") + 20
    ),
    "flipped in its tensors": lambda path: flip(path, place=start_of_tensors),
    "flipped at its end": lambda path: flip(path, place=lambda _: -1),
}


def laboratory_in(runs: FilesystemRunStore, **named: Any) -> Laboratory:
    laboratory = Laboratory(**named)
    laboratory.runs = cast(FakeRunStore, runs)
    return laboratory


class Stages:
    """Either stage of a small training in a folder."""

    def __init__(self) -> None:
        self.prompts = Laboratory().prompt_learning().run()
        self.whole = {
            "prompts": self.prompts,
            "encoder": Laboratory().encoder_tuning().run(self.prompts),
        }

    def work(self, stage: str, laboratory: Laboratory) -> Checkpoint:
        if stage == "prompts":
            return laboratory.prompt_learning().run()
        return laboratory.encoder_tuning().run(self.prompts)

    def stop(self, stage: str, directory: Path, *, epoch: int) -> None:
        runs = FilesystemRunStore(directory)
        runs.begin({}, {}, mode=RunMode.NEW)
        with pytest.raises(PowerFailureError):
            self.work(stage, laboratory_in(runs, listener=PowerCut(epoch=epoch)))
        runs.save("other", self.whole["encoder" if stage == "prompts" else "prompts"])
        runs.release()


@pytest.fixture(scope="module")
def stages() -> Stages:
    return Stages()


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("stage", ["prompts", "encoder"])
def test_the_newest_good_state_is_found_whatever_became_of_the_last(
    stages: Stages, tmp_path: Path, stage: str, damage: str
) -> None:
    stages.stop(stage, tmp_path, epoch=4)
    DAMAGES[damage](tmp_path / f"{stage}-state.safetensors")
    laboratory = laboratory_in(FilesystemRunStore(tmp_path))
    resumed = stages.work(stage, laboratory)
    assert CheckpointDamaged(f"{stage}-state", epoch=2) in laboratory.listener.events
    assert [epoch.epoch for epoch in laboratory.epochs()] == [3, 4]
    for name, tensor in stages.whole[stage].tensors.items():
        assert torch.equal(resumed.tensors[name], tensor)


@pytest.mark.parametrize("damage", sorted(DAMAGES.keys() - {"missing", "a dangling link"}))
def test_a_damaged_only_state_is_refused_by_name_and_stays(
    stages: Stages, tmp_path: Path, damage: str
) -> None:
    stages.stop("encoder", tmp_path, epoch=2)
    state = tmp_path / "encoder-state.safetensors"
    assert not (tmp_path / "encoder-state.previous.safetensors").exists()
    DAMAGES[damage](state)
    with pytest.raises(CheckpointError, match=r"encoder-state\.safetensors"):
        stages.work("encoder", laboratory_in(FilesystemRunStore(tmp_path)))
    assert state.exists()


def test_a_pipe_or_folder_of_a_checkpoint_s_name_is_refused_without_waiting(
    tmp_path: Path,
) -> None:
    pipe, folder = tmp_path / "pipe.safetensors", tmp_path / "folder.safetensors"
    os.mkfifo(pipe)
    folder.mkdir()
    for path in (pipe, folder):
        with pytest.raises(CheckpointError, match=r"safetensors is no regular file"):
            read_checkpoint(path)
