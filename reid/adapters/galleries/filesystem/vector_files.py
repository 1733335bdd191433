"""The file of a gallery's vectors: raw float32 rows, appended to, mapped into memory to be read.

Rows that count never change. A file is replaced as a whole by one of the next generation, in which
rows of pictures that are no longer kept are left out.

Letters: R rows, N rows added, D width.
"""

import mmap
import os
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from torch import Tensor

from reid.adapters.folders import sync_folder
from reid.domain.errors import GalleryError

FLOAT_BYTES = 4
_ENTRIES_PER_BLOCK = 2**23
"""Numbers copied at once (32 MiB)."""

_OURS = re.compile(r"vectors-\d+\.f32|index-\d+-\d+-\w+\.(bin|tmp\b.*)")
"""Names of our files, those included that an index writes beside the one it was given; a folder
may hold others, which are not ours to delete."""


@dataclass(frozen=True, slots=True)
class MappedRows:
    """Rows of a file, and which file that is."""

    file: int
    """Files that were ever mapped are numbered: a gallery that takes another's place has files of
    the same names and perhaps, once those have gone, of the same inode."""

    rows: Tensor
    """(R, D) float32."""

    identity: tuple[int, int]
    """Device and inode, which no other file gets while this one is mapped."""


class VectorFiles:
    """Vectors in a folder, a file per generation."""

    def __init__(self, folder: Path) -> None:
        """Keep the name; nothing is read yet."""
        self._folder = folder
        self._mapping: MappedRows | None = None
        self._num_files = 0
        self._lock = Lock()

    def name(self, generation: int) -> str:
        """Name a generation's file."""
        return f"vectors-{generation}.f32"

    def mapped(self, generation: int, *, num_rows: int, width: int) -> MappedRows:
        """Map rows into memory, which are read from the disk when they are looked at.

        Raises:
            FileNotFoundError: The generation has gone.
            GalleryError: The file is shorter than that.
        """
        if num_rows == 0:
            return MappedRows(file=0, rows=torch.empty((0, width)), identity=(0, 0))
        path = self._own(generation)
        with self._lock:
            known, identity = self._mapping, _identity_of(path.stat())
            if known is None or known.identity != identity or len(known.rows) < num_rows:
                self._mapping = known = self._map(path, num_rows, width)
            return replace(known, rows=known.rows[:num_rows])

    def append(self, generation: int, vectors: Tensor, *, first_row: int) -> None:
        """Write (N, D) rows behind those that count, down to the disk.

        What an interrupted writer left there is overwritten.

        Raises:
            OSError: The disk is full or cannot be written; nothing that counts has changed.
            GalleryError: The file is shorter than what counts.
        """
        path = self._own(generation)
        start = first_row * vectors.shape[1] * FLOAT_BYTES
        if first_row == 0:
            path.touch()
            sync_folder(self._folder)
        _require_length(path.name, path.stat().st_size, wanted=start)
        with path.open("r+b") as file:
            try:
                file.seek(start)
                file.truncate()
                file.write(as_array(vectors).data)
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                with suppress(OSError):
                    file.truncate(start)
                raise

    def rewrite(self, source: Tensor, rows: Sequence[int], *, generation: int) -> None:
        """Copy (R, D) rows into a new generation's file, down to the disk.

        Raises:
            OSError: The disk is full or cannot be written; the new file has gone then.
        """
        path = self._folder / self.name(generation)
        path.unlink(missing_ok=True)  # left by a crash, or a link that leads elsewhere
        kept = torch.tensor(rows, dtype=torch.int64)
        step = max(1, _ENTRIES_PER_BLOCK // max(1, source.shape[1]))
        try:
            with path.open("wb") as file:
                for part in torch.split(kept, step):
                    file.write(as_array(source[part]).data)
                file.flush()
                os.fsync(file.fileno())
            sync_folder(self._folder)
        except OSError:
            path.unlink(missing_ok=True)
            raise

    def find_faults(self, generation: int, *, num_rows: int, width: int) -> Iterator[str]:
        """Say whether the file is there and long enough."""
        path = self._folder / self.name(generation)
        try:
            self._own(generation)
            _require_length(path.name, path.stat().st_size, wanted=num_rows * width * FLOAT_BYTES)
        except GalleryError as error:
            yield str(error)
        except FileNotFoundError:
            if num_rows:
                yield f"{path.name} is missing"

    def forget(self) -> None:
        """Let go of the mapped file."""
        with self._lock:
            self._mapping = None

    def leftovers(self, needed: Sequence[str]) -> set[str]:
        """List files of vectors and indexes that are not needed (any longer)."""
        names = {path.name for path in self._folder.iterdir() if _OURS.fullmatch(path.name)}
        return names - set(needed)

    def _own(self, generation: int) -> Path:
        """Give the path of a file that is in this folder.

        Raises:
            GalleryError: A link stands there: it leads to a file of somebody else.
        """
        path = self._folder / self.name(generation)
        if path.is_symlink():
            raise GalleryError(
                f"{path.name} is damaged: it is a link, and no file of this gallery; bring it back "
                "from a copy, or build the gallery again"
            )
        return path

    def _map(self, path: Path, num_rows: int, width: int) -> MappedRows:
        num_bytes = num_rows * width * FLOAT_BYTES
        # Opened once, since another file can have the name a moment later, or none.
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            _require_length(path.name, found.st_size, wanted=num_bytes)
            content = mmap.mmap(file.fileno(), num_bytes, access=mmap.ACCESS_COPY)
        if self._mapping is None or self._mapping.identity != _identity_of(found):
            self._num_files += 1
        rows = torch.frombuffer(content, dtype=torch.float32).view(num_rows, width)
        return MappedRows(file=self._num_files, rows=rows, identity=_identity_of(found))


def is_own_file(path: Path) -> bool:
    """Whether a file is there, and no link to one elsewhere."""
    return path.is_file() and not path.is_symlink()


def _identity_of(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _require_length(name: str, num_bytes: int, *, wanted: int) -> None:
    if num_bytes < wanted:
        raise GalleryError(
            f"{name} is damaged: it holds {num_bytes} bytes of {wanted}; bring it back from a "
            "copy, or build the gallery again"
        )


def checksums_of(vectors: Tensor) -> list[int]:
    """CRC-32 of each of (N, D) rows."""
    return [zlib.crc32(row) for row in as_array(vectors)]


def as_array(vectors: Tensor) -> np.ndarray:
    """See vectors as little-endian float32 in one piece."""
    return np.ascontiguousarray(vectors.detach().cpu().float().numpy(), dtype="<f4")
