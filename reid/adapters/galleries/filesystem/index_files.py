"""The search index of a gallery: a file beside the vectors where that is worth it.

An index covers the first rows of a file of vectors. Later rows are searched beside it until they
are too many. The name of its file tells the generation of vectors, the number of rows, the kind of
index and the checksum of the content.

Letters: R rows, D width.
"""

import os
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TypeGuard

from reid.adapters.atomic_files import sync_file, sync_folder
from reid.adapters.galleries.filesystem.vector_files import MappedRows, RowsState
from reid.domain.errors import GalleryError, VectorIndexError
from reid.ports.vector_index import PersistentIndex, VectorIndex

TAIL_SHARE = 10  # an index is rebuilt where more than one row in so many lies beside it
KEPT_FROM_ROWS = 1000  # an index of fewer rows is built faster than it is read
_BLOCK = 2**22
_NAME = re.compile(
    r"(?a:index-(?P<generation>\d{1,18})-(?P<num_rows>\d{1,18})-(?P<kind>\w{1,100})"
    r"-(?P<checksum>[0-9a-f]{8})\.bin)"
)


@dataclass(frozen=True, slots=True)
class CoveredRows:
    """An index and what it covers."""

    index: VectorIndex
    file: int  # number of the file of vectors; see `MappedRows`
    generation: int
    num_rows: int

    def is_enough_for(self, vectors: MappedRows) -> bool:
        """Whether few enough rows lie beside it to keep it."""
        num_rows = len(vectors.rows)
        return self.file == vectors.file and (num_rows - self.num_rows) * TAIL_SHARE <= num_rows


@dataclass(frozen=True, slots=True)
class _IndexFile:
    """A file of an index, as its name describes it."""

    path: Path
    generation: int
    num_rows: int
    kind: str
    checksum: str


class IndexFiles:
    """Finds, reads, builds and writes the index of one kind."""

    def __init__(
        self, folder: Path, *, create_index: Callable[[], VectorIndex], kept_from_rows: int
    ) -> None:
        """Keep the names; an index of fewer than `kept_from_rows` rows is not written."""
        self._folder = folder
        self._create_index = create_index
        self._kept_from_rows = kept_from_rows
        self._covered: CoveredRows | None = None
        self._lock = Lock()

    def find(self, state: RowsState, vectors: MappedRows) -> CoveredRows | None:
        """Find an index for vectors, in use or on the disk; None if one must be built."""
        with self._lock:
            if self._covered is None or not self._covered.is_enough_for(vectors):
                self._covered = self._read(state, vectors)
            return self._covered

    def build(self, state: RowsState, vectors: MappedRows) -> bool:
        """Build an index over all vectors; return whether it should be written."""
        with self._lock:
            known = self._covered or self._read(state, vectors)
            if known and (known.file, known.num_rows) == (vectors.file, state.num_rows):
                self._covered = known
                return False
            index = self._create_index()
            try:
                index.build(vectors.rows)
            except VectorIndexError as error:
                raise GalleryError(
                    f"the vectors in {self._folder} cannot be searched ({error}); checking the "
                    "gallery tells which are damaged; those of removed images go when it is "
                    "compacted"
                ) from error
            self._covered = CoveredRows(index, vectors.file, state.generation, state.num_rows)
            return can_be_kept(index) and state.num_rows >= self._kept_from_rows

    def write(self, state: RowsState) -> None:
        """Write the index in use, unless it is of an earlier generation.

        No copy of vectors may appear after an erasure.
        """
        with self._lock:
            known = self._covered
        if known is None or known.generation != state.generation or not can_be_kept(known.index):
            return
        kind = type(known.index).__name__
        before = [one for one in self.files(state.generation) if one.kind == kind]
        stem = f"index-{known.generation}-{known.num_rows}-{kind}"
        temporary = self._folder / f"{stem}.tmp"
        temporary.unlink(missing_ok=True)  # perhaps a link that leads elsewhere
        try:
            known.index.save(str(temporary))
            checksum = _checksum(temporary)
            path = self._folder / f"{stem}-{checksum}.bin"
            sync_file(temporary)
            temporary.replace(path)
            sync_folder(self._folder)
        except VectorIndexError as error:
            raise GalleryError(str(error)) from error
        finally:
            temporary.unlink(missing_ok=True)
        for one in before:
            if one.path != path:
                one.path.unlink(missing_ok=True)

    def forget(self) -> None:
        """Release the index in use."""
        with self._lock:
            self._covered = None

    def files(self, generation: int) -> list[_IndexFile]:
        """List the files of a generation of vectors, those that cover most first."""
        found = []
        with os.scandir(self._folder) as entries:
            names = [entry.name for entry in entries]
        for name in filter(None, map(_NAME.fullmatch, names)):
            path = self._folder / name[0]
            if int(name["generation"]) == generation and not path.is_symlink():
                rows = int(name["num_rows"])
                found.append(_IndexFile(path, generation, rows, name["kind"], name["checksum"]))
        return sorted(found, key=lambda one: -one.num_rows)

    def find_faults(self, generation: int) -> Iterator[str]:
        """Compare files with the checksums in their names."""
        for one in self.files(generation):
            with suppress(FileNotFoundError):  # another process has replaced it meanwhile
                if _checksum(one.path) != one.checksum:
                    yield f"{one.path.name} is damaged: delete it, then compact the gallery"

    def _read(self, state: RowsState, vectors: MappedRows) -> CoveredRows | None:
        index = self._create_index()
        if not can_be_kept(index):
            return None
        for one in self.files(state.generation):
            covered = CoveredRows(index, vectors.file, state.generation, one.num_rows)
            if one.kind != type(index).__name__ or not 0 < one.num_rows <= state.num_rows:
                continue
            if covered.is_enough_for(vectors):
                with suppress(VectorIndexError):  # perhaps of another release
                    index.load(str(one.path), gallery=vectors.rows[: one.num_rows])
                    return covered
        return None


def can_be_kept(index: VectorIndex) -> TypeGuard[PersistentIndex]:
    """Whether an index, built or not, can be written to a file."""
    return hasattr(type(index), "save") and hasattr(type(index), "load")


def _checksum(path: Path) -> str:
    found = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            found = zlib.crc32(block, found)
    return f"{found:08x}"
