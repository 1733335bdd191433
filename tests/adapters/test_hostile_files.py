"""Files made to do harm: nothing in them runs, and nothing they say leads out of its place."""

import gzip
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from reid.adapters.encoders.exported import (
    ExportHeader,
    file_digest,
    open_graph_of,
    read_export_header,
)
from reid.adapters.encoders.weights import read_weights_file
from reid.adapters.galleries.archive import FileArchive
from reid.adapters.images.folders import open_images
from reid.adapters.runs import records
from reid.adapters.runs.filesystem import FilesystemRunStore
from reid.adapters.runs.records import FilesystemRunRecords
from reid.adapters.safetensors_file import HEADER_KEY, read_checkpoint, write_checkpoint
from reid.domain.errors import CheckpointError, DatasetError, EncoderError, ReidError
from reid.domain.values.checkpoints import Checkpoint
from reid.domain.values.encoders import EncoderDescription
from reid.ports.runs import RunMode
from reid.settings.loading import load_settings
from tests.fakes.encoder import FakeEncoder
from tests.images import scene

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
    reason = "cannot be read as weights" if ending == "safetensors" else "could run code"
    with pytest.raises(EncoderError, match=rf"trap\.{ending} .*{reason}"):
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


# Bounds of small files

DEEP = "[" * 100_000


def as_evaluation(folder: Path, text: str) -> object:
    (folder / "evaluation.json").write_text(text)
    return FilesystemRunRecords(folder).report("evaluation")


def as_manifest(folder: Path, text: str) -> object:
    (folder / "run.json").write_text(text)
    return FilesystemRunRecords(folder).manifest()


def as_run_to_resume(folder: Path, text: str) -> object:
    (folder / "run.json").write_text(text)
    FilesystemRunStore(folder).begin({}, {}, mode=RunMode.GO_ON)
    return None


def as_log(folder: Path, text: str) -> object:
    (folder / "metrics.jsonl").write_text(text + "\n")
    return FilesystemRunRecords(folder).progress()


def as_export(folder: Path, text: str) -> object:
    (folder / "encoder.json").write_text(text)
    return read_export_header(folder)


def as_settings(folder: Path, text: str) -> object:
    (folder / "settings.toml").write_text(text if text == DEEP else f"# {text}")
    return load_settings(config=folder / "settings.toml")


def as_assignment(folder: Path, text: str) -> object:  # noqa: ARG001  (like the others)
    return load_settings(assignments=[f"encoder.image_size={text}"])


def as_checkpoint(folder: Path, text: str) -> object:
    save_file({"a": torch.zeros(1)}, folder / "a.safetensors", {HEADER_KEY: text})
    return read_checkpoint(folder / "a.safetensors")


def as_weights(folder: Path, text: str) -> object:
    save_file({"a": torch.zeros(1)}, folder / "a.safetensors", {HEADER_KEY: text})
    return read_weights_file(folder / "a.safetensors")


def as_archive(folder: Path, text: str) -> object:
    (folder / "a.archive").write_text(text + "\n")
    return FileArchive(folder / "a.archive").read()


READERS: dict[str, Callable[[Path, str], object]] = {
    "evaluation": as_evaluation,
    "manifest": as_manifest,
    "run to resume": as_run_to_resume,
    "log": as_log,
    "exported encoder": as_export,
    "settings": as_settings,
    "assignment": as_assignment,
    "checkpoint": as_checkpoint,
    "weights": as_weights,
    "gallery archive": as_archive,
}


@pytest.mark.parametrize("read", list(READERS.values()), ids=list(READERS))
def test_text_that_is_nested_without_end_is_refused(
    read: Callable[[Path, str], object], tmp_path: Path
) -> None:
    with pytest.raises(ReidError):
        read(tmp_path, DEEP)


@pytest.mark.parametrize(
    "name", ["evaluation", "manifest", "run to resume", "log", "exported encoder", "settings"]
)
def test_a_small_file_that_is_large_is_refused_with_the_bound(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "MOST_RECORD_BYTES", 2**20)
    with pytest.raises(ReidError, match="larger than 1 MiB, the most that is read"):
        READERS[name](tmp_path, " " * (2**20 + 1))


def test_a_pipe_in_the_place_of_a_record_blocks_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "evaluation.json")
    with pytest.raises(CheckpointError, match="not a regular file"):
        FilesystemRunRecords(tmp_path).report("evaluation")


def test_compressed_scores_that_unpack_to_gigabytes_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(records, "MOST_RECORD_BYTES", 100 * 2**20)
    bomb = gzip.compress(bytes(101 * 2**20), compresslevel=1)
    (tmp_path / "evaluation.queries.json.gz").write_bytes(bomb)
    with pytest.raises(CheckpointError, match="unpacks to more than any record"):
        FilesystemRunRecords(tmp_path).report("evaluation.queries")


# Paths


def test_an_exported_encoder_cannot_name_files_outside_its_folder(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    for name in ("../secret", str(tmp_path / "secret"), "a/../../secret"):
        header = ExportHeader(
            runtime="onnx",
            precision="fp32",
            description=EncoderDescription(name="a", weights="b", is_pretrained=False),
            geometry=FakeEncoder().geometry,
            tensors="",
            files={name: file_digest(tmp_path / "secret")},
        )
        with pytest.raises(EncoderError, match="names a file outside its folder"):
            open_graph_of(header, tmp_path / "export")


def test_a_list_s_paths_stay_below_it_but_links_that_its_owner_made_are_followed(
    tmp_path: Path,
) -> None:
    (tmp_path / "outside").mkdir()
    scene().save(tmp_path / "outside" / "a.png")
    home = tmp_path / "home"
    home.mkdir()
    (home / "linked.png").symlink_to(tmp_path / "outside" / "a.png")
    table = home / "list.csv"
    table.write_text("path,label\nlinked.png,ann\n")
    assert [image.name for image in open_images(table).images()] == ["linked.png"]
    for path in ("../outside/a.png", str(tmp_path / "outside" / "a.png"), "x/../../outside/a.png"):
        table.write_text(f"path,label\n{path},ann\n")
        with pytest.raises(DatasetError, match=r"absolute path|does not lie under"):
            open_images(table).images()


# Flipped bits


def test_a_checkpoint_with_any_flipped_bit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    tensors = {"weight": torch.arange(24.0).reshape(4, 6), "bias": torch.zeros(3)}
    write_checkpoint(path, Checkpoint(tensors=tensors, header={"format": "test", "epoch": 3}))
    whole = path.read_bytes()
    for bit in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"a\.safetensors"):
            read_checkpoint(path)


def test_a_checkpoint_cut_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_checkpoint(path, Checkpoint(tensors={"weight": torch.ones(8)}, header={}))
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=r"a\.safetensors"):
            read_checkpoint(path)
