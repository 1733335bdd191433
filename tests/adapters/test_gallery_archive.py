"""Exported galleries come from strangers: nothing in them is believed."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from reid.adapters.galleries.archive import FileArchive
from reid.adapters.safetensors_file import digest_with_header, read_checkpoint, write_checkpoint
from reid.domain.errors import GalleryError
from reid.domain.values.checkpoints import Checkpoint, digest_of
from tests.contracts.test_gallery_archive_contract import content


def forge(path: Path, *, header: dict[str, Any] | None = None, rows: object = None) -> None:
    """Write a file whose digest is right, whatever its content."""
    FileArchive(path).write(content())
    found = read_checkpoint(path)
    about: dict[str, Any] = {**found.header, **(header or {})}
    del about["digest"]
    tensors = dict(found.tensors)
    if rows is not None:
        text = bytearray(json.dumps(rows).encode())
        tensors["records"] = torch.frombuffer(text, dtype=torch.uint8)
    about["digest"] = digest_with_header(about, digest_of(tensors))
    write_checkpoint(path, Checkpoint(tensors=tensors, header=about))


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "../secret.jpg",
        "a/../../b.jpg",
        "..",
        "C:\\Windows\\a.jpg",
        "C:a.jpg",
        "..\\a.jpg",
        "\\\\server\\share\\a.jpg",
        "",
        "a\0.jpg",
    ],
)
def test_a_name_that_leads_out_of_its_folder_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "gallery.safetensors"
    FileArchive(path).write(content(image=name))
    with pytest.raises(GalleryError, match="leads out of its folder"):
        FileArchive(path).read()


@pytest.mark.parametrize("position", [0.3, 0.6, 0.99])
def test_a_flipped_bit_is_noticed(tmp_path: Path, position: float) -> None:
    path = tmp_path / "gallery.safetensors"
    FileArchive(path).write(content())
    data = bytearray(path.read_bytes())
    data[int(position * len(data))] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(GalleryError, match=r"gallery\.safetensors"):
        FileArchive(path).read()


@pytest.mark.parametrize(
    "rows",
    [
        [],
        {},
        "text",
        [["a"], ["b"]],
        [[1, "s", "c", "l", None, None], ["b", "s", "c", "l", None, None]],
        [["a", "s", "c", "l", 7, None], ["b", "s", "c", "l", None, None]],
    ],
)
def test_records_of_another_form_are_refused(tmp_path: Path, rows: object) -> None:
    path = tmp_path / "gallery.safetensors"
    forge(path, rows=rows)
    with pytest.raises(GalleryError, match="damaged"):
        FileArchive(path).read()


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"format": "reid-encoder"}, "no exported gallery"),
        ({"version": 2}, "of version 2, this program reads 1"),
        ({"stamp": {"name": "x"}}, "damaged"),
        ({"calibration": {"threshold": 1}}, "damaged"),
    ],
)
def test_a_header_of_another_form_is_refused(
    tmp_path: Path, header: dict[str, Any], message: str
) -> None:
    path = tmp_path / "gallery.safetensors"
    forge(path, header=header)
    with pytest.raises(GalleryError, match=message):
        FileArchive(path).read()


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(GalleryError, match="nowhere"):
        FileArchive(tmp_path / "nowhere" / "gallery.safetensors").write(content())
