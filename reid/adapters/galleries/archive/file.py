"""Galleries as safetensors files: vectors, and records as JSON beside them.

Letters: G images, N of a part, D width.
"""

import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from reid.adapters.atomic_files import cannot_be_written, new_file
from reid.adapters.galleries.archive.records import (
    read_calibrations,
    read_records,
    write_records,
)
from reid.adapters.safetensors_blocks import (
    Layout,
    StoredTensor,
    header_bytes,
    read_blocks,
    read_layout,
)
from reid.adapters.safetensors_file import (
    HEADER_KEY,
    digest_with_header,
    parse_header,
    require_file,
    sealed_header,
    verified_header,
)
from reid.domain.errors import CheckpointError, GalleryError
from reid.domain.services.gallery_checks import are_unit, as_array
from reid.domain.values.checkpoints import JsonValue, TensorBlocks, digest_of_blocks
from reid.domain.values.galleries import EncoderFingerprint
from reid.domain.values.gallery_archives import ArchivedGallery

FORMAT = "reid-gallery"
VERSION = 1
_FLOAT_BYTES = 4

_ROWS_AT_ONCE = 4000
"""Vectors per block; a gallery in Milvus replaces no more images in one change."""

_NO_DIGEST = "0" * 32
"""Takes the place of the digest in a header until it is known."""


@dataclass(frozen=True, slots=True)
class _Tensors:
    """The two that a file holds."""

    records: StoredTensor
    """(bytes,) of JSON."""

    vectors: StoredTensor
    """(G, D) float32."""


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
            raise self._exists()
        try:
            # Vectors come first in the file but second in the digest, so records wait in a
            # temporary file.
            with (
                new_file(self._path) as file,
                tempfile.TemporaryFile(dir=self._path.parent) as aside,
            ):
                _write(file, content, aside=aside)
        except FileExistsError as error:
            raise self._exists() from error
        except OSError as error:
            raise GalleryError(str(cannot_be_written(self._path, error))) from error

    def read(self) -> ArchivedGallery:
        """Read and verify the file; see the port."""
        advice = "give a file that an export of a gallery wrote"
        try:
            require_file(self._path)
            with self._path.open("rb") as file:
                return self._read(file)
        except FileNotFoundError as error:
            raise GalleryError(f"{self._path} does not exist; {advice}") from error
        except CheckpointError as error:
            raise GalleryError(f"{error}; {advice}") from error
        except OSError as error:
            raise GalleryError(f"{self._path} cannot be read: {error.strerror or error}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise GalleryError(
                f"{self._path} is damaged ({error or type(error).__name__}): export the gallery "
                "again"
            ) from error

    def _read(self, file: BinaryIO) -> ArchivedGallery:
        identity = _identity_of(file)
        layout = read_layout(file)
        header = self._known_header(layout)
        fingerprint = _fingerprint_of(header["fingerprint"])
        tensors = _tensors_of(layout, width=fingerprint.width)
        _verify(file, header, tensors)
        num_images = sum(1 for _ in read_records(_blocks_of(file, tensors.records)))
        if num_images != tensors.vectors.shape[0]:
            raise ValueError("records and vectors do not go together")
        return ArchivedGallery(
            fingerprint=fingerprint,
            num_images=num_images,
            images=lambda: read_records(self._again(tensors.records, identity)),
            vectors=lambda: (
                _rows_of(block, width=fingerprint.width)
                for block in self._again(tensors.vectors, identity)
            ),
            calibrations=read_calibrations(header["calibration"]),
        )

    def _known_header(self, layout: Layout) -> dict[str, Any]:
        """Read the header of a gallery of our version."""
        if HEADER_KEY not in layout.metadata:
            raise CheckpointError(
                f"{self._path} is a safetensors file, but reid did not write it: it has no header"
            )
        header: dict[str, Any] = parse_header(layout.metadata)
        if header.get("format") != FORMAT:
            raise GalleryError(f"{self._path} is no exported gallery")
        if header.get("version") != VERSION:
            raise GalleryError(
                f"{self._path} is of version {header.get('version')}, this program reads {VERSION}"
            )
        return header

    def _again(self, tensor: StoredTensor, identity: tuple[int, ...]) -> Iterator[bytes]:
        """Read a tensor of the verified file, block by block."""
        try:
            with self._path.open("rb") as file:
                for block in _blocks_of(file, tensor):
                    if _identity_of(file) != identity:
                        raise ValueError("it is another now")
                    yield block
        except (OSError, ValueError) as error:
            raise GalleryError(
                f"{self._path} was changed while it was read ({error}): leave it alone, and try "
                "again"
            ) from error

    def _exists(self) -> GalleryError:
        return GalleryError(f"{self._path} exists: name another file, or remove it first")


def _write(file: BinaryIO, content: ArchivedGallery, *, aside: BinaryIO) -> None:
    """Write the tensors, then the header in front of them, which holds the digest."""
    num_images = write_records(aside, content.images())
    _require_count(num_images, content, what="images")
    vectors = StoredTensor("F32", (num_images, content.fingerprint.width), 0)
    records = StoredTensor("U8", (aside.tell(),), vectors.num_bytes)
    about: dict[str, JsonValue] = {
        "format": FORMAT,
        "version": VERSION,
        "fingerprint": asdict(content.fingerprint),
        "calibration": [asdict(one) for one in content.calibrations],
    }
    file.seek(len(_header_of(about, vectors=vectors, records=records, digest=_NO_DIGEST)))
    digest = digest_of_blocks(
        (
            _as_records(records, read_blocks(aside, start=0, num_bytes=records.num_bytes)),
            _as_vectors(vectors, _written(file, content)),
        )
    )
    for block in read_blocks(aside, start=0, num_bytes=records.num_bytes):
        file.write(block)
    file.seek(0)
    file.write(_header_of(about, vectors=vectors, records=records, digest=digest))


def _header_of(
    about: Mapping[str, JsonValue], *, vectors: StoredTensor, records: StoredTensor, digest: str
) -> bytes:
    """Write the header; its length does not depend on the digest."""
    header = sealed_header({**about, "digest": digest_with_header(about, digest)}, digest)
    layout = Layout({HEADER_KEY: header}, {"vectors": vectors, "records": records})
    return header_bytes(layout)


def _written(file: BinaryIO, content: ArchivedGallery) -> Iterator[memoryview]:
    """Write the vectors and pass them on to be digested."""
    count = 0
    for part in content.vectors():
        rows = as_array(part)  # (N, D)
        if rows.shape[1:] != (content.fingerprint.width,):
            raise ValueError(f"vectors {rows.shape} are not of width {content.fingerprint.width}")
        count += len(rows)
        file.write(rows.data)
        yield rows.data
    _require_count(count, content, what="vectors")


def _require_count(count: int, content: ArchivedGallery, *, what: str) -> None:
    if count != content.num_images:
        raise ValueError(f"{count} {what} are given of a gallery of {content.num_images}")


def _tensors_of(layout: Layout, *, width: int) -> _Tensors:
    if layout.tensors.keys() != {"records", "vectors"}:
        raise ValueError("it holds other tensors than records and vectors")
    found = _Tensors(**layout.tensors)
    if found.records.dtype != "U8" or found.vectors.dtype != "F32":
        raise ValueError("records and vectors are not of their types")
    if len(found.vectors.shape) != 2 or found.vectors.shape[1] != width:
        raise ValueError("its vectors are not of the width of its encoder")
    return found


def _verify(file: BinaryIO, header: Mapping[str, Any], tensors: _Tensors) -> None:
    """Check the digests and the norms of the vectors; ValueError where they are wrong."""
    is_unit: list[bool] = []

    def looked_at(blocks: Iterator[bytes]) -> Iterator[bytes]:
        for block in blocks:
            is_unit.append(are_unit(_rows_of(block, width=tensors.vectors.shape[1])))
            yield block

    digest = digest_of_blocks(
        (
            _as_records(tensors.records, _blocks_of(file, tensors.records)),
            _as_vectors(tensors.vectors, looked_at(_blocks_of(file, tensors.vectors))),
        )
    )
    about = verified_header(header, lambda: digest)
    claimed = about.pop("digest", None)
    if claimed != digest_with_header(about, digest):
        raise ValueError("its content does not match its digest")
    if not all(is_unit):
        raise ValueError("its vectors are not of unit L2 norm")


def _as_records(tensor: StoredTensor, blocks: Iterator[bytes]) -> TensorBlocks:
    return TensorBlocks("records", torch.uint8, tensor.shape, blocks)


def _as_vectors(
    tensor: StoredTensor, blocks: Iterator[bytes] | Iterator[memoryview]
) -> TensorBlocks:
    return TensorBlocks("vectors", torch.float32, tensor.shape, blocks)


def _blocks_of(file: BinaryIO, tensor: StoredTensor) -> Iterator[bytes]:
    """Read a tensor in blocks of whole rows."""
    row_bytes = math.prod(tensor.shape[1:]) * _FLOAT_BYTES if tensor.dtype == "F32" else 256
    block_bytes = max(1, row_bytes * _ROWS_AT_ONCE)
    return read_blocks(
        file, start=tensor.start, num_bytes=tensor.num_bytes, block_bytes=block_bytes
    )


def _rows_of(block: bytes, *, width: int) -> Tensor:
    """See a block as (N, D) float32."""
    return torch.frombuffer(bytearray(block), dtype=torch.float32).view(-1, width)


def _fingerprint_of(found: Mapping[str, Any]) -> EncoderFingerprint:
    fingerprint = EncoderFingerprint(**found)
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


def _identity_of(file: BinaryIO) -> tuple[int, ...]:
    found = os.fstat(file.fileno())
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
