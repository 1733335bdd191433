"""Files of raw float32 vectors, which grow and are mapped into memory; keys lie in a second file.

Written rows never change. To leave out rows of removed images, both files are replaced by those of
the next generation.

Letters: R rows, N rows added, D width.
"""

import mmap
import os
import re
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from torch import Tensor

from reid.adapters.atomic_files import sync_folder
from reid.domain.errors import GalleryError
from reid.domain.services.gallery_checks import as_array
from reid.ports.gallery_vectors import VectorsGoneError

_FLOAT_BYTES = 4
_KEY_BYTES = 8
_ENTRIES_PER_BLOCK = 2**23  # numbers copied at once (32 MiB)
_STATE = re.compile(r"(?a:([1-9]\d{0,17})-(\d{1,18})-([1-9]\d{0,8}))")


@dataclass(frozen=True, slots=True)
class RowsState:
    """Which rows of which files count."""

    generation: int = 1
    num_rows: int = 0  # rows of the files that count; later ones are ignored
    width: int = 0

    @classmethod
    def parsed(cls, text: str) -> "RowsState":
        """Read what `str` wrote; it comes from a database that may be hostile.

        Raises:
            GalleryError: The text is something else.
        """
        found = _STATE.fullmatch(text) if isinstance(text, str) else None
        if text != "" and found is None:
            raise GalleryError(
                f"the gallery is damaged: {str(text)[:80]!r} names no vectors; bring it back from "
                "a copy, or build it again"
            )
        return cls(*map(int, found.groups())) if found else cls()

    def __str__(self) -> str:
        """Write it for the records."""
        return f"{self.generation}-{self.num_rows}-{self.width}"

    @property
    def vectors_name(self) -> str:
        """Name of the file of vectors."""
        return f"vectors-{self.generation}.f32"

    @property
    def keys_name(self) -> str:
        """Name of the file of keys."""
        return f"keys-{self.generation}.i64"


@dataclass(frozen=True, slots=True)
class MappedRows:
    """Rows of a file, and the identity of that file."""

    file: int
    """Number of the mapping's file: a gallery that replaces another has files of the same names,
    and perhaps of the same inodes."""
    keys: np.ndarray  # (R,) int64, ascending
    rows: Tensor  # (R, D) float32
    identity: tuple[int, int]  # device and inode, which are not reused while the file is mapped


class VectorFiles:
    """Vectors in a folder, two files per generation."""

    def __init__(self, folder: Path) -> None:
        """Keep the name; nothing is read yet."""
        self._folder = folder
        self._mapping: MappedRows | None = None
        self._num_files = 0
        self._lock = Lock()

    def mapped(self, state: RowsState) -> MappedRows:
        """Map rows into memory.

        Raises:
            VectorsGoneError: The generation was deleted.
            GalleryError: A file is too short.
        """
        if state.num_rows == 0:
            return MappedRows(0, np.empty(0, np.int64), torch.empty((0, state.width)), (0, 0))
        try:
            path = self._own(state.vectors_name)
            with self._lock:
                known, found = self._mapping, path.stat()
                # Checked each time: reading beyond the end of a mapped file ends the process.
                _require_length(path.name, found.st_size, _num_bytes(state))
                is_it = known is not None and known.identity == (found.st_dev, found.st_ino)
                if known is None or not is_it or len(known.rows) < state.num_rows:
                    self._mapping = known = self._map(path, state)
                count = state.num_rows  # later rows were added since
                return replace(known, keys=known.keys[:count], rows=known.rows[:count])
        except FileNotFoundError as error:
            raise VectorsGoneError(f"{state.vectors_name} is missing") from error

    def append(self, state: RowsState, keys: np.ndarray, vectors: Tensor) -> RowsState:
        """Write (N, D) rows behind those that count, over what an interrupted writer left.

        Raises:
            OSError: The disk is full or cannot be written; the rows that count are unchanged.
            GalleryError: A file is too short.
        """
        width = vectors.shape[1]
        for name, content, row_bytes in (
            (state.vectors_name, as_array(vectors), width * _FLOAT_BYTES),
            (state.keys_name, keys.astype("<i8"), _KEY_BYTES),
        ):
            path = self._own(name)
            start = state.num_rows * row_bytes
            if start == 0:
                path.touch()
                sync_folder(self._folder)
            _require_length(name, path.stat().st_size, start)
            _overwrite(path, content, start=start)
        return RowsState(state.generation, state.num_rows + len(keys), width)

    def rewrite(self, state: RowsState, *, without: np.ndarray) -> RowsState:
        """Copy rows into files of the next generation, leaving out the keys `without`.

        Raises:
            OSError: The disk is full or cannot be written; the new files are deleted.
        """
        old = self.mapped(state)
        kept = np.flatnonzero(~np.isin(old.keys, without))
        new = RowsState(state.generation + 1, len(kept), state.width)
        paths = [self._folder / name for name in (new.vectors_name, new.keys_name)]
        step = max(1, _ENTRIES_PER_BLOCK // max(1, state.width))
        try:
            for path in paths:
                path.unlink(missing_ok=True)  # left by a crash, or a link that leads elsewhere
            with paths[0].open("xb") as vectors, paths[1].open("xb") as keys:
                for part in torch.split(torch.from_numpy(kept), step):
                    vectors.write(as_array(old.rows[part]).data)
                keys.write(old.keys[kept].astype("<i8").data)
                for file in (vectors, keys):
                    file.flush()
                    os.fsync(file.fileno())
            sync_folder(self._folder)
        except OSError:
            for path in paths:
                path.unlink(missing_ok=True)
            raise
        return new

    def forget(self) -> None:
        """Release the mapped file."""
        with self._lock:
            self._mapping = None

    def _own(self, name: str) -> Path:
        """Return the path of a file of ours; GalleryError where it is a link."""
        path = self._folder / name
        if path.is_symlink():
            raise GalleryError(
                f"{name} is damaged: it is a link, and no file of this gallery; bring it back "
                "from a copy, or build the gallery again"
            )
        return path

    def _map(self, path: Path, state: RowsState) -> MappedRows:
        # Opened once, since the name can go to another file a moment later.
        with path.open("rb") as file, self._own(state.keys_name).open("rb") as beside:
            found = os.fstat(file.fileno())
            _require_length(path.name, found.st_size, _num_bytes(state))
            content = mmap.mmap(file.fileno(), _num_bytes(state), access=mmap.ACCESS_COPY)
            num_bytes = state.num_rows * _KEY_BYTES
            _require_length(state.keys_name, os.fstat(beside.fileno()).st_size, num_bytes)
            keys = np.frombuffer(beside.read(num_bytes), dtype="<i8").astype(np.int64, copy=False)
        if not (keys[1:] > keys[:-1]).all():
            raise _damaged(state.keys_name, "its keys do not ascend")
        identity = found.st_dev, found.st_ino
        if self._mapping is None or self._mapping.identity != identity:
            self._num_files += 1
        rows = torch.frombuffer(content, dtype=torch.float32).view(state.num_rows, state.width)
        return MappedRows(self._num_files, keys, rows, identity)


def _num_bytes(state: RowsState) -> int:
    return state.num_rows * state.width * _FLOAT_BYTES


def _overwrite(path: Path, content: np.ndarray, *, start: int) -> None:
    """Write the rest of a file, from `start` on, down to the disk."""
    with path.open("r+b") as file:
        try:
            file.seek(start)
            file.truncate()
            file.write(content.data)
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            with suppress(OSError):
                file.truncate(start)
            raise


def _require_length(name: str, num_bytes: int, wanted: int) -> None:
    if num_bytes < wanted:
        raise _damaged(name, f"it holds {num_bytes} bytes of {wanted}")


def _damaged(name: str, reason: str) -> GalleryError:
    return GalleryError(
        f"{name} is damaged: {reason}; bring it back from a copy, or build the gallery again"
    )
