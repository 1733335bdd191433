"""The search index of a gallery: kept in a file beside the vectors where that is worth it.

An index covers the first rows of a file of vectors. Rows added since are searched beside it until
they are too many.

Letters: R rows, D width.
"""

import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from sqlite3 import Connection
from threading import Lock
from typing import TypeGuard

from reid.adapters.folders import sync_folder
from reid.adapters.galleries.filesystem.database import Database
from reid.adapters.galleries.filesystem.records import (
    GalleryState,
    IndexRecord,
    index_name,
    read_indexes,
    read_state,
    write_index,
)
from reid.adapters.galleries.filesystem.vector_files import MappedRows, is_own_file
from reid.domain.errors import GalleryError, VectorIndexError
from reid.ports.vector_index import PersistentIndex, VectorIndex

TAIL_SHARE = 10
"""An index is built anew where more than one row in so many lies beside it."""

KEPT_FROM_ROWS = 1000
"""An index of fewer rows is built sooner than it is read."""

_BLOCK = 2**22


@dataclass(frozen=True, slots=True)
class CoveredRows:
    """An index and what it covers."""

    index: VectorIndex
    file: int
    """Of vectors; see `MappedRows`."""

    num_rows: int

    def is_enough_for(self, vectors: MappedRows) -> bool:
        """Whether so few rows lie beside it that it need not be built anew."""
        num_rows = len(vectors.rows)
        tail = num_rows - self.num_rows
        return self.file == vectors.file and tail * TAIL_SHARE <= num_rows


class IndexFiles:
    """Finds, reads, builds and writes the index of one kind."""

    def __init__(
        self,
        folder: Path,
        *,
        database: Database,
        create_index: Callable[[], VectorIndex],
        kept_from_rows: int = KEPT_FROM_ROWS,
    ) -> None:
        """Keep the names; nothing is read or built yet.

        Args:
            folder: Where the files lie.
            database: Says which of them count.
            create_index: Makes an empty index.
            kept_from_rows: An index of fewer rows is not written.
        """
        self._folder = folder
        self._database = database
        self._create_index = create_index
        self._kept_from_rows = kept_from_rows
        self._covered: CoveredRows | None = None
        self._lock = Lock()

    def find(
        self, connection: Connection, state: GalleryState, vectors: MappedRows
    ) -> CoveredRows | None:
        """Find an index for vectors, in use or on the disk; None if one must be built.

        Without rows it is empty.

        Args:
            connection: Within the transaction that sees the state.
            state: Of the gallery.
            vectors: The rows that count.
        """
        if state.num_rows == 0:
            return CoveredRows(self._create_index(), vectors.file, 0)
        with self._lock:
            if self._covered is None or not self._covered.is_enough_for(vectors):
                self._covered = self._read(connection, state, vectors)
            return self._covered

    def build(self, state: GalleryState, vectors: MappedRows) -> None:
        """Cover all vectors, unless they are.

        It takes long: nobody should hold a transaction meanwhile.
        """
        with self._lock:
            known = self._covered
            if known is None:
                with self._database.reading() as connection:
                    known = self._read(connection, state, vectors)
            if known is None or (known.file, known.num_rows) != (vectors.file, state.num_rows):
                known = self._build(state, vectors)
            self._covered = known

    def forget(self) -> None:
        """Let go of the index in use."""
        with self._lock:
            self._covered = None

    def find_faults(self, records: tuple[IndexRecord, ...]) -> Iterator[str]:
        """Compare files with what was recorded of them."""
        for record in records:
            path = self._folder / record.file
            if not is_own_file(path):
                yield f"{record.file} is missing: `reid gallery compact` builds it again"
            elif (path.stat().st_size, _checksum(path)) != (record.num_bytes, record.checksum):
                yield f"{record.file} is damaged: delete it, then `reid gallery compact`"

    def _read(
        self, connection: Connection, state: GalleryState, vectors: MappedRows
    ) -> CoveredRows | None:
        index = self._create_index()
        if not can_be_kept(index):
            return None
        for record in read_indexes(connection, generation=state.generation):
            path = self._folder / record.file
            covered = CoveredRows(index, vectors.file, record.num_rows)
            if record.kind != _kind(index) or record.num_rows > state.num_rows:
                continue
            if covered.is_enough_for(vectors) and _has_length(path, record.num_bytes):
                with suppress(VectorIndexError):  # of another release, say: built anew
                    index.load(str(path), gallery=vectors.rows[: record.num_rows])
                    return covered
        return None

    def _build(self, state: GalleryState, vectors: MappedRows) -> CoveredRows:
        index = self._create_index()
        try:
            index.build(vectors.rows)
        except VectorIndexError as error:
            raise GalleryError(
                f"the vectors in {self._folder} cannot be searched ({error}); "
                "`reid gallery check` tells which are damaged; of removed pictures they go by "
                "`reid gallery compact`"
            ) from error
        if can_be_kept(index) and state.num_rows >= self._kept_from_rows:
            # It is needed now and can be written later: another writer, a full disk or a folder
            # that is read-only is no reason to refuse an answer.
            with suppress(GalleryError, VectorIndexError):
                self._write(index, state)
        return CoveredRows(index, vectors.file, state.num_rows)

    def _write(self, index: PersistentIndex, state: GalleryState) -> None:
        """Write a file as the one writer: no copy of vectors may appear after an erasure."""
        kind = _kind(index)
        path = self._folder / index_name(
            generation=state.generation, num_rows=state.num_rows, kind=kind
        )
        temporary = path.with_suffix(".tmp")
        with self._database.writing(wait_seconds=0) as connection:
            if read_state(connection).generation != state.generation:
                return
            before = [
                record.file
                for record in read_indexes(connection, generation=state.generation)
                if record.kind == kind and record.file != path.name
            ]
            temporary.unlink(missing_ok=True)  # perhaps a link that leads elsewhere
            try:
                index.save(str(temporary))
                _sync(temporary)
                record = IndexRecord(
                    kind=kind,
                    file=path.name,
                    generation=state.generation,
                    num_rows=state.num_rows,
                    num_bytes=temporary.stat().st_size,
                    checksum=_checksum(temporary),
                )
                temporary.replace(path)
                sync_folder(self._folder)
            finally:
                temporary.unlink(missing_ok=True)
            write_index(connection, record)
        for name in before:
            (self._folder / name).unlink(missing_ok=True)


def can_be_kept(index: VectorIndex) -> TypeGuard[PersistentIndex]:
    """Whether an index, built or not, has a form for the disk."""
    return hasattr(type(index), "save") and hasattr(type(index), "load")


def _kind(index: VectorIndex) -> str:
    return type(index).__name__


def _has_length(path: Path, num_bytes: int) -> bool:
    try:
        return is_own_file(path) and path.stat().st_size == num_bytes
    except OSError:
        return False


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _checksum(path: Path) -> int:
    found = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            found = zlib.crc32(block, found)
    return found
