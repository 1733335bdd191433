"""Galleries in one file each: a header, then the record and the vector of every image, a digest.

Header and records are lines of JSON in UTF-8, a record a list in the order of `_FIELDS`. An image's
vector follows its record: `width` little-endian float32. The last line is the BLAKE2b digest of
everything before it.

Letters: N images of a part, D width.
"""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, BinaryIO

import torch

from reid.adapters.atomic_files import cannot_be_written, new_file
from reid.domain.errors import GalleryError
from reid.domain.services.gallery_checks import are_unit, as_array
from reid.domain.values.galleries import EncoderFingerprint, NewImage, is_keepable
from reid.domain.values.open_set import Calibration
from reid.ports.gallery_archive import ArchivedGallery, ArchivePart
from reid.small_files import parse_json

FORMAT = "reid-gallery"
VERSION = 1
_FIELDS = ("name", "source", "content", "label", "camera", "expires_at")
_OPTIONAL = ("camera", "expires_at")
_FLOAT_BYTES = 4

_PART_SIZE = 4000  # images read at once; a gallery in Milvus replaces no more in one change
_MOST_LINE_BYTES = 4 * 2**20  # a record takes a few hundred
_to_json = json.JSONEncoder(ensure_ascii=False).encode
_HALF_CHARACTER = re.compile("[\ud800-\udfff]")


class FileArchive:
    """A gallery in one file; behind the archive's port."""

    def __init__(self, path: Path) -> None:
        """Name the file; nothing is touched yet."""
        self.place = str(path)
        self._path = path

    def write(self, content: ArchivedGallery) -> None:
        """Write the file; see the port."""
        taken = GalleryError(f"{self._path} exists: name another file, or remove it first")
        if self._path.exists():
            raise taken
        try:
            with new_file(self._path) as file:
                _write(file, content)
        except FileExistsError as error:
            raise taken from error
        except OSError as error:
            raise GalleryError(str(cannot_be_written(self._path, error))) from error

    def read(self) -> ArchivedGallery:
        """Read and verify the file; see the port."""
        advice = "give a file that an export of a gallery wrote"
        if self._path.exists() and not self._path.is_file():  # reading a pipe would block
            raise GalleryError(f"{self._path} is no regular file; {advice}")
        try:
            with self._path.open("rb") as file:
                identity = _identity_of(file)
                reading = _Reading(file)
                header = reading.header()
                if header is None:
                    raise GalleryError(f"{self._path} is no exported gallery; {advice}")
                if header.get("version") != VERSION:
                    raise GalleryError(
                        f"{self._path} is of version {header.get('version')}, this program reads "
                        f"{VERSION}"
                    )
                fingerprint, num_images = _fingerprint_of(header), header["num_images"]
                calibrations = tuple(Calibration(**one) for one in header["calibrations"])
                for _ in reading.parts(num_images, width=fingerprint.width):
                    pass
        except FileNotFoundError as error:
            raise GalleryError(f"{self._path} does not exist; {advice}") from error
        except OSError as error:
            raise GalleryError(f"{self._path} cannot be read: {error.strerror or error}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise GalleryError(
                f"{self._path} is damaged ({error or type(error).__name__}): export the gallery "
                "again"
            ) from error
        return ArchivedGallery(
            fingerprint=fingerprint,
            num_images=num_images,
            calibrations=calibrations,
            parts=lambda: self._parts(num_images, width=fingerprint.width, identity=identity),
        )

    def _parts(
        self, num_images: int, *, width: int, identity: tuple[int, ...]
    ) -> Iterator[ArchivePart]:
        try:
            with self._path.open("rb") as file:
                reading = _Reading(file)
                reading.header()
                for part in reading.parts(num_images, width=width):
                    if _identity_of(file) != identity:
                        raise ValueError("it is another now")
                    yield part
        except (OSError, ValueError) as error:
            raise GalleryError(
                f"{self._path} was changed while it was read ({error}): leave it alone, and try "
                "again"
            ) from error


class _Reading:
    """An open file, read once from its beginning to its end."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = blake2b(digest_size=16)

    def header(self) -> dict[str, Any] | None:
        """Read the first line; None where the file is no exported gallery."""
        try:
            header = self._line()
        except ValueError:
            return None
        is_ours = isinstance(header, dict) and header.get("format") == FORMAT
        return header if is_ours else None

    def parts(self, num_images: int, *, width: int) -> Iterator[ArchivePart]:
        """Read what follows the header; ValueError where anything is wrong with it."""
        if type(num_images) is not int or num_images < 0:
            raise ValueError("it does not count its images")
        row_bytes = width * _FLOAT_BYTES
        # A row is allocated before it is read.
        if num_images * row_bytes > os.fstat(self._file.fileno()).st_size:
            raise ValueError("it is cut short")
        for start in range(0, num_images, _PART_SIZE):
            images, rows = [], []
            for _ in range(min(_PART_SIZE, num_images - start)):
                images.append(_image_of(self._line()))
                rows.append(self._row(row_bytes))
            content = bytearray(b"".join(rows))
            vectors = torch.frombuffer(content, dtype=torch.float32).view(-1, width)  # (N, D)
            if not are_unit(vectors):
                raise ValueError("its vectors are not of unit L2 norm")
            yield images, vectors
        end = f"{self._digest.hexdigest()}\n".encode()
        if self._file.read(len(end) + 1) != end:
            raise ValueError("its content does not match its digest")

    def _line(self) -> Any:  # noqa: ANN401  (whatever JSON can hold)
        text = self._file.readline(_MOST_LINE_BYTES)
        if not text.endswith(b"\n"):
            raise ValueError("it is cut short, or the record of an image is too long")
        self._digest.update(text)
        return parse_json(text.decode())

    def _row(self, num_bytes: int) -> bytes:
        content = self._file.read(num_bytes)
        if len(content) < num_bytes:
            raise ValueError("it is cut short")
        self._digest.update(content)
        return content


def _write(file: BinaryIO, content: ArchivedGallery) -> None:
    """Write the content; ValueError where it contradicts itself."""
    digest = blake2b(digest_size=16)

    def put(written: bytes) -> None:
        digest.update(written)
        file.write(written)

    header = {
        "format": FORMAT,
        "version": VERSION,
        "num_images": content.num_images,
        "fingerprint": asdict(content.fingerprint),
        "calibrations": [asdict(one) for one in content.calibrations],
    }
    put(_line_of(header))
    count = 0
    for images, vectors in content.parts():
        rows = as_array(vectors)  # (N, D)
        if rows.shape != (len(images), content.fingerprint.width):
            raise ValueError(
                f"vectors {rows.shape} of {len(images)} images are not of width "
                f"{content.fingerprint.width}"
            )
        for image, row in zip(images, rows, strict=True):
            put(_line_of([getattr(image, name) for name in _FIELDS]) + row.tobytes())
        count += len(images)
    if count != content.num_images:
        raise ValueError(f"{count} images are given of a gallery of {content.num_images}")
    file.write(f"{digest.hexdigest()}\n".encode())


def _line_of(value: object) -> bytes:
    return f"{_to_json(value)}\n".encode()


def _fingerprint_of(header: dict[str, Any]) -> EncoderFingerprint:
    fingerprint = EncoderFingerprint(**header["fingerprint"])
    texts = (fingerprint.name, fingerprint.weights, fingerprint.digest)
    if not (
        all(isinstance(text, str) for text in texts)
        and isinstance(fingerprint.options, dict)
        and type(fingerprint.width) is int
        and fingerprint.width > 0
        and isinstance(fingerprint.uses_cameras, bool)
    ):
        raise ValueError("its encoder is not described as it should be")
    return fingerprint


def _image_of(record: object) -> NewImage:
    """Read a record; ValueError where it is damaged, or its name would lead out of its folder."""
    if not isinstance(record, list) or len(record) != len(_FIELDS):
        raise ValueError("the record of an image is no list of its fields")
    for name, cell in zip(_FIELDS, record, strict=True):
        if not isinstance(cell, str) and (cell is not None or name not in _OPTIONAL):
            raise ValueError(f"an image's {name} is no text")
    text = "".join(filter(None, record))
    # JSON can spell NUL and halves of characters, which no gallery keeps.
    if not is_keepable(text) or (not text.isascii() and _HALF_CHARACTER.search(text)):
        raise ValueError("the record of an image holds characters that are none")
    image = NewImage(**dict(zip(_FIELDS, record, strict=True)))
    if _leads_away(image.name):
        raise ValueError(f"the name {image.name!r} leads out of its folder")
    return image


def _leads_away(name: str) -> bool:
    """Whether a name is anything but a plain path below a folder, on any system."""
    if not name:
        return True
    if "\\" not in name and ":" not in name:  # nearly all: what follows takes ten times as long
        return name.startswith("/") or ".." in name.split("/")
    paths = (PurePosixPath(name), PureWindowsPath(name))
    return any(path.is_absolute() or path.anchor or ".." in path.parts for path in paths)


def _identity_of(file: BinaryIO) -> tuple[int, ...]:
    found = os.fstat(file.fileno())
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
