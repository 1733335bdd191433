"""Files made to do harm: nothing in them runs, and nothing they say leads out of its place."""

import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from reid.adapters.encoders.weights import read_weights_file
from reid.domain.errors import EncoderError

exported: Callable[[Any], Any] = torch.jit.export
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit")


class Trap:
    """Unpickled without care, this makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.path),)


class SavesWhenLoaded(nn.Module):
    """A TorchScript module whose own program writes a file when torch.jit loads it."""

    def __init__(self, place: str) -> None:
        super().__init__()
        self.place = place
        self.register_buffer("weight", torch.ones(2))
        self.weight: Tensor

    @exported
    def __getstate__(self) -> tuple[str, Tensor, bool]:
        return self.place, self.weight, self.training

    @exported
    def __setstate__(self, state: tuple[str, Tensor, bool]) -> None:
        self.place = state[0]
        self.weight = state[1]
        self.training = state[2]
        torch.save(state[1], state[0])

    def forward(self, images: Tensor) -> Tensor:
        return images


def write_zip(path: Path, trap: Trap) -> None:
    torch.save({"visual.conv1.weight": torch.zeros(1), "trap": trap}, path)


def write_legacy(path: Path, trap: Trap) -> None:
    content = {"visual.conv1.weight": torch.zeros(1), "trap": trap}
    torch.save(content, path, _use_new_zipfile_serialization=False)


def write_pickle(path: Path, trap: Trap) -> None:
    path.write_bytes(pickle.dumps({"trap": trap}))


def write_torchscript(path: Path, trap: Trap) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("clip/data.pkl", pickle.dumps(trap, protocol=2))
        archive.writestr("clip/constants.pkl", pickle.dumps((trap,), protocol=2))
        archive.writestr("clip/code/model.py", b"")
        archive.writestr("clip/version", b"3\n")


WRITERS = {
    "zip": write_zip,
    "legacy": write_legacy,
    "pickle": write_pickle,
    "torchscript": write_torchscript,
}


@pytest.mark.parametrize("ending", ["pt", "pth", "bin", "ckpt", "safetensors"])
@pytest.mark.parametrize("write", list(WRITERS.values()), ids=list(WRITERS))
def test_no_reader_of_weights_runs_what_a_file_holds(
    write: Callable[[Path, Trap], None], ending: str, tmp_path: Path
) -> None:
    path, sprung = tmp_path / f"trap.{ending}", tmp_path / "sprung"
    write(path, Trap(sprung))
    with pytest.raises(EncoderError, match=rf"trap\.{ending} "):
        read_weights_file(path)
    assert not sprung.exists()


def test_the_trap_would_spring_if_it_were_unpickled(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Trap(tmp_path / "sprung")))
    assert (tmp_path / "sprung").is_dir()


def test_the_program_of_a_torchscript_archive_is_not_run_either(tmp_path: Path) -> None:
    path, sprung = tmp_path / "trap.pt", tmp_path / "sprung"
    scripted = torch.jit.script(SavesWhenLoaded(str(sprung)))
    scripted.save(path)  # type: ignore[no-untyped-call]
    with pytest.raises(EncoderError, match=r"trap\.pt holds no CLIP image encoder"):
        read_weights_file(path)
    assert not sprung.exists()
    torch.jit.load(path)  # type: ignore[no-untyped-call]
    assert sprung.exists(), "the trap springs where it is loaded as torch loads it"
