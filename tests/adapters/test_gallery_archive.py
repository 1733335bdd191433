"""Exported galleries are untrusted: nothing in them is believed unchecked."""

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from reid.adapters import atomic_files
from reid.adapters.galleries.archive.file import FileArchive
from reid.adapters.galleries.archive.records import read_records
from reid.adapters.safetensors_file import digest_with_header, read_checkpoint, write_checkpoint
from reid.domain.errors import GalleryError
from reid.domain.values.checkpoints import Checkpoint, digest_of
from tests.fakes.gallery_archive import two_images


def forge(
    path: Path,
    *,
    header: dict[str, Any] | None = None,
    rows: object = None,
    tensors: dict[str, torch.Tensor] | None = None,
) -> None:
    """Write a file whose digest is right, whatever its content."""
    FileArchive(path).write(two_images())
    found = read_checkpoint(path)
    about: dict[str, Any] = {**found.header, **(header or {})}
    del about["digest"]
    tensors = {**found.tensors, **(tensors or {})}
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
    ],
)
def test_a_name_that_leads_out_of_its_folder_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "gallery.safetensors"
    FileArchive(path).write(two_images(name=name))
    with pytest.raises(GalleryError, match="leads out of its folder"):
        FileArchive(path).read()


@pytest.mark.parametrize("position", [0.3, 0.6, 0.99])
def test_a_flipped_bit_is_noticed(tmp_path: Path, position: float) -> None:
    path = tmp_path / "gallery.safetensors"
    FileArchive(path).write(two_images())
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
        ({"fingerprint": {"name": "x"}}, "damaged"),
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
        FileArchive(tmp_path / "nowhere" / "gallery.safetensors").write(two_images())


def whole(path: Path) -> bytes:
    FileArchive(path).write(two_images())
    return path.read_bytes()


def test_a_file_is_to_the_byte_what_its_version_wrote_at_first(tmp_path: Path) -> None:
    path, at_first = tmp_path / "gallery.safetensors", tmp_path / "at-first.safetensors"
    given = two_images()
    rows = [
        [one.name, one.source, one.content, one.label, one.camera, one.expires_at]
        for one in given.images()
    ]
    text = bytearray(json.dumps(rows, ensure_ascii=False).encode())
    tensors = {
        "vectors": torch.cat([*given.vectors()]),
        "records": torch.frombuffer(text, dtype=torch.uint8),
    }
    about: dict[str, Any] = {
        "format": "reid-gallery",
        "version": 1,
        "fingerprint": asdict(given.fingerprint),
        "calibration": [asdict(calibration) for calibration in given.calibrations],
    }
    header = {**about, "digest": digest_with_header(about, digest_of(tensors))}
    write_checkpoint(at_first, Checkpoint(tensors=tensors, header=header))
    assert whole(path) == at_first.read_bytes()


def test_damage_to_any_byte_and_any_cut_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "gallery.safetensors"
    good = whole(path)
    for place in range(len(good)):
        damaged = bytearray(good)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(GalleryError, match=r"gallery\.safetensors"):
            FileArchive(path).read()
    for length in range(len(good)):
        path.write_bytes(good[:length])
        with pytest.raises(GalleryError, match=r"gallery\.safetensors"):
            FileArchive(path).read()


@pytest.mark.parametrize(
    ("name", "tensor", "reason"),
    [
        ("vectors", torch.full((2, 6), 0.5), "not of unit L2 norm"),
        ("vectors", torch.full((2, 6), float("nan")), "not of unit L2 norm"),
        ("vectors", torch.eye(2, 5), "not of the width of its encoder"),
        ("vectors", torch.eye(3, 6), "do not go together"),
        ("vectors", torch.eye(2, 6, dtype=torch.float64), "is of type 'F64'"),
        ("records", torch.eye(2, 6), "not of their types"),
        ("others", torch.eye(2, 6), "other tensors"),
    ],
)
def test_tensors_of_another_form_are_refused(
    tmp_path: Path, name: str, tensor: torch.Tensor, reason: str
) -> None:
    path = tmp_path / "gallery.safetensors"
    forge(path, tensors={name: tensor})
    with pytest.raises(GalleryError, match=f"damaged .*{reason}"):
        FileArchive(path).read()


@pytest.mark.parametrize(
    "fingerprint",
    [
        {"digest": 7},
        {"width": "6"},
        {"width": True},
        {"width": 0},
        {"uses_cameras": 1},
        {"options": []},
    ],
)
def test_an_encoder_of_another_form_is_refused(tmp_path: Path, fingerprint: dict[str, Any]) -> None:
    path = tmp_path / "gallery.safetensors"
    forge(path, header={"fingerprint": {**asdict(two_images().fingerprint), **fingerprint}})
    with pytest.raises(GalleryError, match="its encoder is not described as it should be"):
        FileArchive(path).read()


@pytest.mark.parametrize("tell", ["images", "vectors"])
def test_a_file_that_changes_after_it_was_verified_is_not_believed(
    tmp_path: Path, tell: str
) -> None:
    path = tmp_path / "gallery.safetensors"
    good = whole(path)
    found = FileArchive(path).read()
    path.write_bytes(good + b" ")
    with pytest.raises(GalleryError, match="was changed while it was read"):
        list(getattr(found, tell)())
    path.unlink()
    with pytest.raises(GalleryError, match="was changed while it was read"):
        list(getattr(found, tell)())


@pytest.mark.parametrize("is_unnamed", [True, False])
def test_content_that_breaks_off_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_unnamed: bool
) -> None:
    if not is_unnamed:
        monkeypatch.setattr(atomic_files, "_open_unnamed", lambda _: None)
    path = tmp_path / "gallery.safetensors"

    def broken() -> Iterator[torch.Tensor]:
        yield from two_images().vectors()
        raise GalleryError("no more")

    with pytest.raises(GalleryError, match="no more"):
        FileArchive(path).write(replace(two_images(), vectors=broken))
    assert list(tmp_path.iterdir()) == []
    whole(path)
    assert list(tmp_path.iterdir()) == [path]
    assert tuple(FileArchive(path).read().images()) == tuple(two_images().images())


@pytest.mark.parametrize("is_unnamed", [True, False])
def test_a_name_that_is_taken_meanwhile_is_left_to_its_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_unnamed: bool
) -> None:
    if not is_unnamed:
        monkeypatch.setattr(atomic_files, "_open_unnamed", lambda _: None)
    path = tmp_path / "gallery.safetensors"

    def slow() -> Iterator[torch.Tensor]:
        path.write_text("another's")
        yield from two_images().vectors()

    with pytest.raises(GalleryError, match="exists"):
        FileArchive(path).write(replace(two_images(), vectors=slow))
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert path.read_text() == "another's"


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"num_images": 3}, "2 images are given of a gallery of 3"),
        ({"vectors": lambda: iter([torch.eye(3, 6)])}, "3 vectors are given of a gallery of 2"),
        ({"vectors": lambda: iter([torch.eye(2, 5)])}, "are not of width 6"),
    ],
)
def test_content_that_contradicts_itself_is_not_written(
    tmp_path: Path, other: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        FileArchive(tmp_path / "gallery.safetensors").write(replace(two_images(), **other))
    assert list(tmp_path.iterdir()) == []


# Records


ROW = ["a/\u00e9\U0001f600.jpg", 's"\\]', "c", "l,[", "1", None]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("num_rows", [0, 1, 3])
@pytest.mark.parametrize("indent", [None, 1])
def test_records_are_read_wherever_their_text_is_cut(
    size: int, num_rows: int, indent: int | None
) -> None:
    text = json.dumps([ROW] * num_rows, ensure_ascii=size % 2 == 0, indent=indent).encode()
    blocks = [text[start : start + size] for start in range(0, len(text), size)]
    found = list(read_records(blocks))
    assert [(one.name, one.source, one.label, one.expires_at) for one in found] == [
        (ROW[0], ROW[1], ROW[3], None)
    ] * num_rows


ROW_TEXT = json.dumps(ROW)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no list of images"),
        ("{}", "no list of images"),
        (f"[{ROW_TEXT}", "no list of images"),
        (f"[{ROW_TEXT},]", "is no list"),
        (f"[{ROW_TEXT} {ROW_TEXT}]", "no list of images"),
        (f"[{ROW_TEXT}] []", "something follows"),
        (f"[[{ROW_TEXT}]]", "argument"),
        (f"[{ROW_TEXT[:-9]}", "Unterminated string"),
        ("[" * 100_000, "nested too deeply"),
        ('[["\\ud800", "s", "c", "l", null, null]]', "name is no text"),
        ('[["a\\u0000", "s", "c", "l", null, null]]', "name is no text"),
        ('[["i", "s", "c", "l\\u0000", null, null]]', "label is no text"),
        ('[["' + "a" * 5 * 2**20, "too long"),
    ],
)
def test_text_that_is_no_records_is_refused(text: str, reason: str) -> None:
    blocks = [text[start : start + 2**20].encode() for start in range(0, len(text), 2**20)]
    with pytest.raises(ValueError, match=reason):
        list(read_records(blocks))


def test_text_that_ends_within_a_character_is_refused() -> None:
    with pytest.raises(ValueError, match="utf-8"):
        list(read_records([b'[["\xc3']))
