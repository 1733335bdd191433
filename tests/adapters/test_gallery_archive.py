"""Exported galleries are untrusted: nothing in them is believed unchecked."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reid.adapters import atomic_files
from reid.adapters.galleries.archive import FileArchive
from reid.domain.errors import GalleryError
from reid.ports.gallery_archive import ArchivePart
from tests.fakes.gallery_archive import two_images, whole

RECORDS = (
    ["a.jpg", "s", "c", "l", None, None],
    ["a/\u00e9\U0001f600.jpg", 's"\\]', "c", "l,[", "1", "2026-01-01T00:00:00Z"],
)


def forge(
    path: Path,
    *,
    header: Mapping[str, object] | None = None,
    records: Sequence[object] = RECORDS,
    vectors: torch.Tensor | None = None,
) -> None:
    """Write a file whose digest is right, whatever its content."""
    about = {
        "format": "reid-gallery",
        "version": 1,
        "num_images": 2,
        "fingerprint": asdict(two_images().fingerprint),
        "calibrations": [],
        **(header or {}),
    }
    rows = (torch.eye(2, 6) if vectors is None else vectors).numpy()
    forge_lines(path, about, *zip(records, rows, strict=True))


def forge_lines(path: Path, header: object, *images: tuple[object, np.ndarray]) -> None:
    def line(value: object) -> bytes:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        return text.encode() + b"\n"

    content = line(header) + b"".join(line(record) + row.tobytes() for record, row in images)
    digest = blake2b(content, digest_size=16).hexdigest()
    path.write_bytes(content + f"{digest}\n".encode())


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
    path = tmp_path / "gallery.archive"
    FileArchive(path).write(two_images(name=name))
    with pytest.raises(GalleryError, match="leads out of its folder"):
        FileArchive(path).read()


@pytest.mark.parametrize("position", [0.3, 0.6, 0.99])
def test_a_flipped_bit_is_noticed(tmp_path: Path, position: float) -> None:
    path = tmp_path / "gallery.archive"
    FileArchive(path).write(two_images())
    data = bytearray(path.read_bytes())
    data[int(position * len(data))] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(GalleryError, match=r"gallery\.archive"):
        FileArchive(path).read()


def test_a_file_of_the_documented_form_is_read(tmp_path: Path) -> None:
    path = tmp_path / "gallery.archive"
    forge(path)
    images, vectors = whole(FileArchive(path).read())
    assert [(one.name, one.source, one.label, one.camera) for one in images] == [
        ("a.jpg", "s", "l", None),
        (RECORDS[1][0], 's"\\]', "l,[", "1"),
    ]
    assert torch.equal(vectors, torch.eye(2, 6))


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({}, "no list of its fields"),
        ('"text"', "no list of its fields"),
        (["a"], "no list of its fields"),
        ([[*RECORDS[0]]], "no list of its fields"),
        ([1, "s", "c", "l", None, None], "name is no text"),
        (["a", "s", "c", None, None, None], "label is no text"),
        (["a", "s", "c", "l", 7, None], "camera is no text"),
        ('["\\ud800", "s", "c", "l", null, null]', "characters that are none"),
        ('["a\\u0000", "s", "c", "l", null, null]', "characters that are none"),
        ('["i", "s", "c", "l\\u0000", null, null]', "characters that are none"),
        ('["a", "s", "c", "l", null, null] []', "Extra data"),
        ('["a', "Invalid control character"),
        ("[" * 100_000, "nested too deeply"),
        ('["' + "a" * 5 * 2**20, "too long"),
        ("", "Expecting value"),
    ],
)
def test_records_of_another_form_are_refused(tmp_path: Path, record: object, reason: str) -> None:
    path = tmp_path / "gallery.archive"
    forge(path, records=[RECORDS[0], record])
    with pytest.raises(GalleryError, match=f"damaged .*{reason}"):
        FileArchive(path).read()


def test_a_record_that_is_no_utf_8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "gallery.archive"
    forge(path)
    path.write_bytes(path.read_bytes().replace(b'"a.jpg"', b'"a\xc3jpg"'))
    with pytest.raises(GalleryError, match=r"damaged .*utf-8"):
        FileArchive(path).read()


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"format": "reid-encoder"}, "no exported gallery; give a file that an export"),
        ({"version": 2}, "of version 2, this program reads 1"),
        ({"fingerprint": {"name": "x"}}, "damaged"),
        ({"calibrations": {"threshold": 1}}, "damaged"),
        ({"calibrations": None}, "damaged"),
        ({"num_images": 3}, "damaged"),
        ({"num_images": 1}, "damaged .*does not match its digest"),
        ({"num_images": 10**12}, "damaged .*cut short"),
        ({"num_images": -1}, "does not count its images"),
        ({"num_images": True}, "does not count its images"),
        ({"num_images": "2"}, "does not count its images"),
    ],
)
def test_a_header_of_another_form_is_refused(
    tmp_path: Path, header: dict[str, Any], message: str
) -> None:
    path = tmp_path / "gallery.archive"
    forge(path, header=header)
    with pytest.raises(GalleryError, match=message):
        FileArchive(path).read()


@pytest.mark.parametrize("content", [b"", b"\xff\xd8\xff", b"text", b"[]\n", b"{" * 2**23])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "gallery.archive"
    path.write_bytes(content)
    with pytest.raises(GalleryError, match="no exported gallery; give a file that an export"):
        FileArchive(path).read()


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(GalleryError, match="nowhere"):
        FileArchive(tmp_path / "nowhere" / "gallery.archive").write(two_images())


def written(path: Path) -> bytes:
    FileArchive(path).write(two_images())
    return path.read_bytes()


def test_a_file_is_to_the_byte_what_its_version_wrote_at_first(tmp_path: Path) -> None:
    path, at_first = tmp_path / "gallery.archive", tmp_path / "at-first.archive"
    given = two_images()
    images, vectors = whole(given)
    header = {
        "format": "reid-gallery",
        "version": 1,
        "num_images": 2,
        "fingerprint": asdict(given.fingerprint),
        "calibrations": [asdict(calibration) for calibration in given.calibrations],
    }
    records = [
        [one.name, one.source, one.content, one.label, one.camera, one.expires_at] for one in images
    ]
    forge_lines(at_first, header, *zip(records, vectors.numpy(), strict=True))
    assert written(path) == at_first.read_bytes()


def test_damage_to_any_byte_and_any_cut_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "gallery.archive"
    good = written(path)
    for place in range(len(good)):
        damaged = bytearray(good)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(GalleryError, match=r"gallery\.archive"):
            FileArchive(path).read()
    for length in range(len(good)):
        path.write_bytes(good[:length])
        with pytest.raises(GalleryError, match=r"gallery\.archive"):
            FileArchive(path).read()


@pytest.mark.parametrize("value", [0.5, float("nan")])
def test_vectors_that_are_not_of_unit_norm_are_refused(tmp_path: Path, value: float) -> None:
    path = tmp_path / "gallery.archive"
    forge(path, vectors=torch.full((2, 6), value))
    with pytest.raises(GalleryError, match=r"damaged .*not of unit L2 norm"):
        FileArchive(path).read()


@pytest.mark.parametrize("width", [5, 7])
def test_vectors_of_another_width_are_refused(tmp_path: Path, width: int) -> None:
    path = tmp_path / "gallery.archive"
    forge(path, vectors=torch.eye(2, width))
    with pytest.raises(GalleryError, match="damaged"):
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
    path = tmp_path / "gallery.archive"
    forge(path, header={"fingerprint": {**asdict(two_images().fingerprint), **fingerprint}})
    with pytest.raises(GalleryError, match="its encoder is not described as it should be"):
        FileArchive(path).read()


def test_a_file_that_changes_after_it_was_verified_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "gallery.archive"
    good = written(path)
    found = FileArchive(path).read()
    for content in (good + b" ", good[:-60], b""):
        path.write_bytes(content)
        with pytest.raises(GalleryError, match="was changed while it was read"):
            list(found.parts())
    path.unlink()
    with pytest.raises(GalleryError, match="was changed while it was read"):
        list(found.parts())


@pytest.mark.parametrize("is_unnamed", [True, False])
def test_content_that_breaks_off_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_unnamed: bool
) -> None:
    if not is_unnamed:
        monkeypatch.setattr(atomic_files, "_open_unnamed", lambda _: None)
    path = tmp_path / "gallery.archive"

    def broken() -> Iterator[ArchivePart]:
        yield from two_images().parts()
        raise GalleryError("no more")

    with pytest.raises(GalleryError, match="no more"):
        FileArchive(path).write(replace(two_images(), parts=broken))
    assert list(tmp_path.iterdir()) == []
    written(path)
    assert list(tmp_path.iterdir()) == [path]
    assert whole(FileArchive(path).read())[0] == whole(two_images())[0]


@pytest.mark.parametrize("is_unnamed", [True, False])
def test_a_name_that_is_taken_meanwhile_is_left_to_its_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_unnamed: bool
) -> None:
    if not is_unnamed:
        monkeypatch.setattr(atomic_files, "_open_unnamed", lambda _: None)
    path = tmp_path / "gallery.archive"

    def slow() -> Iterator[ArchivePart]:
        path.write_text("another's")
        yield from two_images().parts()

    with pytest.raises(GalleryError, match="exists"):
        FileArchive(path).write(replace(two_images(), parts=slow))
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert path.read_text() == "another's"


IMAGES = whole(two_images())[0]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"num_images": 3}, "2 images are given of a gallery of 3"),
        ({"parts": lambda: iter([(IMAGES, torch.eye(3, 6))])}, r"vectors \(3, 6\) of 2 images"),
        ({"parts": lambda: iter([(IMAGES, torch.eye(2, 5))])}, "are not of width 6"),
    ],
)
def test_content_that_contradicts_itself_is_not_written(
    tmp_path: Path, other: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        FileArchive(tmp_path / "gallery.archive").write(replace(two_images(), **other))
    assert list(tmp_path.iterdir()) == []
