"""Galleries as safetensors files: vectors, and records as JSON beside them."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import torch
from torch import Tensor

from reid.adapters.galleries.calibrations import from_plain, to_plain
from reid.adapters.safetensors_file import read_checkpoint, write_checkpoint
from reid.domain.errors import CheckpointError, GalleryError
from reid.domain.values.checkpoints import Checkpoint, JsonValue, digest_of
from reid.domain.values.galleries import EncoderStamp, NewPicture
from reid.domain.values.gallery_archives import ArchivedGallery
from reid.small_files import parse_json

FORMAT = "reid-gallery"
VERSION = 1

_TEXTS = ("image", "source", "content", "label")
_PERHAPS_TEXTS = ("camera", "expires_at")


class FileArchive:
    """A gallery in one file; behind the archive's port."""

    def __init__(self, path: Path) -> None:
        """Name the file; nothing is touched yet."""
        self._path = path

    @property
    def place(self) -> str:
        """The file's path."""
        return str(self._path)

    def write(self, content: ArchivedGallery) -> None:
        """Write the file; see the port."""
        if self._path.exists():
            raise GalleryError(f"{self._path} exists: name another file, or remove it first")
        tensors = {"vectors": content.vectors, "records": _records_of(content.pictures)}
        about: dict[str, JsonValue] = {
            "format": FORMAT,
            "version": VERSION,
            "stamp": asdict(content.stamp),
            "calibration": [*to_plain(content.calibrations)],
        }
        header = {**about, "digest": _digest(about, tensors)}
        try:
            write_checkpoint(self._path, Checkpoint(tensors=tensors, header=header))
        except CheckpointError as error:
            raise GalleryError(str(error)) from error

    def read(self) -> ArchivedGallery:
        """Read and verify the file; see the port."""
        try:
            found = read_checkpoint(self._path)
        except CheckpointError as error:
            raise GalleryError(f"{error}; give a file that reid gallery export wrote") from error
        header = dict(found.header)
        if header.get("format") != FORMAT:
            raise GalleryError(f"{self._path} is no exported gallery")
        if header.get("version") != VERSION:
            raise GalleryError(
                f"{self._path} is of version {header.get('version')}, this program reads {VERSION}"
            )
        digest = header.pop("digest", None)
        if digest != _digest(header, found.tensors):
            raise self._damaged("its content does not match its digest")
        try:
            return _archived(header, found.tensors)
        except (ValueError, KeyError, TypeError) as error:
            raise self._damaged(str(error) or type(error).__name__) from error

    def _damaged(self, reason: str) -> GalleryError:
        return GalleryError(f"{self._path} is damaged ({reason}): export the gallery again")


def _digest(about: Mapping[str, JsonValue], tensors: Mapping[str, Tensor]) -> str:
    text = json.dumps([about, digest_of(tensors)], sort_keys=True)
    return blake2b(text.encode(), digest_size=16).hexdigest()


def _records_of(pictures: tuple[NewPicture, ...]) -> Tensor:
    names = (*_TEXTS, *_PERHAPS_TEXTS)
    rows = [[getattr(picture, name) for name in names] for picture in pictures]
    text = json.dumps(rows, ensure_ascii=False).encode()
    return torch.frombuffer(bytearray(text), dtype=torch.uint8)


def _archived(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> ArchivedGallery:
    rows = parse_json(tensors["records"].numpy().tobytes())
    vectors = tensors["vectors"]
    if vectors.dtype != torch.float32 or vectors.ndim != 2 or len(rows) != len(vectors):
        raise ValueError("records and vectors do not go together")
    return ArchivedGallery(
        stamp=EncoderStamp(**header["stamp"]),
        pictures=tuple(map(_picture, rows)),
        vectors=vectors,
        calibrations=from_plain(header["calibration"]),
    )


def _picture(row: list[object]) -> NewPicture:
    cells = dict(zip((*_TEXTS, *_PERHAPS_TEXTS), row, strict=True))
    _require(cells, _TEXTS, lambda cell: isinstance(cell, str))
    _require(cells, _PERHAPS_TEXTS, lambda cell: cell is None or isinstance(cell, str))
    picture = NewPicture(**cells)  # type: ignore[arg-type]  # their types were just looked at
    if _leads_away(picture.image):
        raise ValueError(f"the name {picture.image!r} leads out of its folder")
    return picture


def _require(
    cells: Mapping[str, object], names: tuple[str, ...], is_right: Callable[[object], bool]
) -> None:
    wrong = [name for name in names if not is_right(cells[name])]
    if wrong:
        raise ValueError(f"a picture's {wrong[0]} is no text")


def _leads_away(name: str) -> bool:
    """Whether a name is anything but a plain path below a folder, on any system."""
    paths = (PurePosixPath(name), PureWindowsPath(name))
    return (
        not name
        or "\0" in name
        or any(path.is_absolute() or path.anchor or ".." in path.parts for path in paths)
    )
