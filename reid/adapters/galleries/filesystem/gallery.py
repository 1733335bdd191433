"""A gallery in a folder: records in SQLite, vectors in a file beside it, an index beside that.

SQLite's one state line says which rows of which file of vectors count, so that its transaction is
that of the whole: vectors are written and flushed before it is committed, and files that are no
longer needed are deleted after. What a crash leaves in between is of no account, and goes when the
folder is next opened or changed.

Letters: N pictures added, Q queries, R rows, D width.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from sqlite3 import Connection
from typing import Unpack

import torch
from torch import Tensor

from reid.adapters.atomic_files import sync_folder
from reid.adapters.galleries.checks import (
    NORM_TOLERANCE,
    check_additions,
    check_question,
    require_kept,
)
from reid.adapters.galleries.filesystem import records
from reid.adapters.galleries.filesystem.database import Database, in_words, no_gallery
from reid.adapters.galleries.filesystem.index_files import KEPT_FROM_ROWS, CoveredRows, IndexFiles
from reid.adapters.galleries.filesystem.records import Checksums, GalleryState
from reid.adapters.galleries.filesystem.row_search import SearchedRows
from reid.adapters.galleries.filesystem.vector_files import MappedRows, VectorFiles, checksums_of
from reid.adapters.galleries.words import after_removal
from reid.domain.errors import GalleryError
from reid.domain.values.galleries import (
    EVERYTHING,
    AuditEntry,
    Calibration,
    EncoderStamp,
    GalleryDescription,
    GalleryFilter,
    KeptPicture,
    NewPicture,
    PictureLookup,
    with_calibrations,
)
from reid.domain.values.ranking import Neighbours
from reid.ports.vector_index import VectorIndex

DATABASE = "gallery.sqlite"
WAIT_SECONDS = 30.0
"""How long a second writer waits for the first."""

_HOLES_PER_PICTURE = 1
_MOST_HOLES = 1000
"""More rows of removed pictures than kept ones, and more than a few, are not carried along."""

_CHECKED_AT_ONCE = 4096
_SNAPSHOT_TRIES = 100
"""A reader seldom meets a file that has just been replaced, and never so often in a row."""


def open_filesystem_gallery(
    directory: Path,
    *,
    create: bool,
    create_index: Callable[[], VectorIndex],
    wait_seconds: float = WAIT_SECONDS,
    index_from_rows: int = KEPT_FROM_ROWS,
) -> "FilesystemGallery":
    """Open a gallery; what a crash left behind is cleared where the folder can be written.

    Args:
        directory: The folder.
        create: Make an empty gallery where there is none.
        create_index: Makes the index that searches.
        wait_seconds: How long to wait for another writer.
        index_from_rows: An index of fewer rows is built in memory and not kept on the disk.

    Raises:
        GalleryError: There is none, it is damaged, or it cannot be made.
    """
    place = str(directory)
    database = Database(directory / DATABASE, place=place, wait_seconds=wait_seconds)
    with in_words(place):
        if create and not (directory / DATABASE).exists():
            directory.mkdir(parents=True, exist_ok=True)
            sync_folder(directory.parent)
        elif not (directory / DATABASE).is_file():
            raise no_gallery(place)
    try:
        if create and not database.has_tables:
            database.create()
        database.require_gallery()
        gallery = FilesystemGallery(
            directory,
            database=database,
            create_index=create_index,
            index_from_rows=index_from_rows,
        )
        gallery.clear_leftovers()
    except GalleryError:
        database.close()
        raise
    return gallery


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """One state, and what belongs to it."""

    connection: Connection
    state: GalleryState
    vectors: MappedRows


class FilesystemGallery:
    """Keeps a gallery in a folder; made by `open_filesystem_gallery`.

    Several processes and threads may use one folder at once: each call of a reader sees one state,
    the newest when the call began; a second writer waits.
    """

    def __init__(
        self,
        directory: Path,
        *,
        database: Database,
        create_index: Callable[[], VectorIndex],
        index_from_rows: int,
    ) -> None:
        """Keep the parts.

        Args:
            directory: The folder.
            database: Of a gallery that was found there.
            create_index: Makes the index that searches.
            index_from_rows: An index of fewer rows is not kept on the disk.
        """
        self._directory = directory
        self._database = database
        self._create_index = create_index
        self._files = VectorFiles(directory)
        self._index = IndexFiles(
            directory,
            database=database,
            create_index=create_index,
            kept_from_rows=index_from_rows,
        )

    @property
    def place(self) -> str:
        """The folder's path."""
        return str(self._directory)

    @property
    def is_exact(self) -> bool:
        """As the index."""
        return self._create_index().is_exact

    @property
    def recall(self) -> float:
        """As the index, which is built where needed; rows beside it are compared exactly."""
        with self._indexed() as (_, covered):
            return covered.index.recall

    @property
    def beyond_erasing(self) -> None:
        """All files are written anew, and the database's log is emptied."""
        return None

    def describe(self) -> GalleryDescription:
        """Read the state's one line."""
        with self._database.reading() as connection:
            return records.read_state(connection).described()

    def pictures(self, **wanted: Unpack[PictureLookup]) -> tuple[KeptPicture, ...]:
        """List pictures; see the port."""
        with self._database.reading() as connection:
            return records.read_pictures(connection, wanted)

    def page(self, *, after: int, limit: int) -> tuple[KeptPicture, ...]:
        """List the next pictures; see the port."""
        with self._database.reading() as connection:
            return records.read_page(connection, after=after, limit=limit)

    def vectors(self, keys: Sequence[int]) -> Tensor:
        """Look up vectors; see the port."""
        with self._snapshot() as now:
            rows = records.rows_of_keys(now.connection, keys)
            require_kept(keys, rows, place=self.place)
            return now.vectors.rows[torch.tensor([rows[key] for key in keys], dtype=torch.int64)]

    def thumbnail(self, key: int) -> bytes | None:
        """Look up a thumbnail."""
        with self._database.reading() as connection:
            return records.read_thumbnail(connection, key)

    def without_thumbnail(self, keys: Sequence[int]) -> frozenset[int]:
        """Say which have none."""
        with self._database.reading() as connection:
            return records.keys_without_thumbnail(connection, keys)

    def add(
        self,
        pictures: Sequence[NewPicture],
        vectors: Tensor,
        *,
        stamp: EncoderStamp,
        entry: AuditEntry,
    ) -> tuple[int, ...]:
        """Keep pictures; see the port."""
        with self._changing() as (connection, state):
            check_additions(pictures, vectors, stamp=stamp, kept=state.stamp, place=self.place)
            self._files.append(state.generation, vectors, first_row=state.num_rows)
            num_before = state.num_pictures - records.delete_namesakes(connection, pictures)
            keys = records.insert_pictures(
                connection,
                pictures,
                first_row=state.num_rows,
                checksums=checksums_of(vectors),
                at=entry.at,
            )
            if state.stamp is None:
                records.write_stamp(connection, stamp)
            records.write_rows(
                connection,
                state,
                num_rows=state.num_rows + len(pictures),
                num_pictures=num_before + len(pictures),
            )
            records.write_audit(connection, entry)
        self._compact_if_hollow()
        return keys

    def remove(self, keys: Sequence[int], *, entry: AuditEntry) -> int:
        """Stop keeping pictures; see the port."""
        with self._changing() as (connection, state):
            num_removed = records.delete_pictures(connection, keys)
            records.write_rows(
                connection,
                state,
                num_rows=state.num_rows,
                num_pictures=state.num_pictures - num_removed,
            )
            records.write_audit(connection, entry)
        self._compact_if_hollow()
        return num_removed

    def erase(self, keys: Sequence[int], *, entry: AuditEntry) -> int:
        """Remove pictures and every trace of them: all files are written anew; see the port."""
        with self._changing() as (connection, state):
            is_indexed = bool(records.read_indexes(connection, generation=state.generation))
            num_erased = records.delete_pictures(connection, keys)
            records.write_audit(connection, entry)
            self._close_gaps(connection, state)
        with after_removal():
            self.clear_leftovers(is_certain=True)
        self._index.forget()
        if is_indexed:
            self._build_index()
        return num_erased

    def search(self, queries: Tensor, k: int, *, within: GalleryFilter = EVERYTHING) -> Neighbours:
        """Rank pictures; see the port."""
        asked = queries.detach().cpu().float()
        with self._indexed() as (now, covered):
            check_question(asked, k=k, stamp=now.state.stamp, num_pictures=now.state.num_pictures)
            return self._searched(now, covered, within=within).search(asked, k)

    def calibrate(self, calibrations: Sequence[Calibration], *, entry: AuditEntry) -> None:
        """Keep how similarities become decisions."""
        with self._changing() as (connection, state):
            kept = with_calibrations(state.calibrations, calibrations)
            records.write_calibrations(connection, kept)
            records.write_audit(connection, entry)

    def note(self, entry: AuditEntry) -> None:
        """Write a line of the audit log."""
        with self._changing() as (connection, _):
            records.write_audit(connection, entry)

    def audit(self) -> tuple[AuditEntry, ...]:
        """Read the audit log."""
        with self._database.reading() as connection:
            return records.read_audit(connection)

    def check(self) -> tuple[str, ...]:
        """Compare every vector, record and index with its checksum; see the port."""
        needed: list[str] = []
        for _ in range(_SNAPSHOT_TRIES):
            before = needed
            try:
                with self._database.reading() as connection:
                    needed = self._needed(connection)
                    faults = tuple(self._faults(connection))
            except GalleryError as error:
                faults = (str(error),)
            # A file that somebody has replaced meanwhile is not missing: look again.
            if not faults or needed == before:
                break
        return faults

    def compact(self) -> None:
        """Give back the room of removed pictures, leave no trace of them, and index all rows."""
        with self._changing() as (connection, state):
            if state.num_holes:
                self._close_gaps(connection, state)
        self.clear_leftovers(is_certain=True)
        self._build_index()

    def close(self) -> None:
        """Let go of files and connections."""
        self._index.forget()
        self._files.forget()
        self._database.close()

    def clear_leftovers(self, *, is_certain: bool = False) -> None:
        """Delete files that no state needs, and all traces of what they held.

        Args:
            is_certain: Also where nothing is left over, and fail where it cannot be done; otherwise
                whoever is writing just now is left alone: those may be its files.

        Raises:
            GalleryError: See `is_certain`.
        """
        try:
            with self._database.reading() as connection:
                left = self._leftovers(connection)
            if left or is_certain:
                self._clear(wait_seconds=None if is_certain else 0)
        except GalleryError:
            if is_certain:
                raise

    def _clear(self, *, wait_seconds: float | None) -> None:
        # In this order: files left over say that traces may be in the database, too, until both
        # have gone.
        with self._database.writing(wait_seconds=wait_seconds) as connection:
            left = self._leftovers(connection)
        self._database.scrub()
        with self._database.writing() as connection:
            for name in left & self._leftovers(connection):
                (self._directory / name).unlink(missing_ok=True)
            sync_folder(self._directory)

    def _leftovers(self, connection: Connection) -> set[str]:
        return self._files.leftovers(self._needed(connection))

    def _needed(self, connection: Connection) -> list[str]:
        generation = records.read_state(connection).generation
        indexes = records.read_indexes(connection, generation=generation)
        return [self._files.name(generation), *(index.file for index in indexes)]

    @contextmanager
    def _changing(self) -> Iterator[tuple[Connection, GalleryState]]:
        self.clear_leftovers()
        with self._database.writing() as connection:
            yield connection, records.read_state(connection)

    @contextmanager
    def _snapshot(self) -> Iterator[_Snapshot]:
        with self._database.reading() as connection:
            for _ in range(_SNAPSHOT_TRIES):
                state = records.read_state(connection)
                with suppress(FileNotFoundError):
                    vectors = self._mapped(state)
                    break
                # Another process has replaced the file since: look again.
                connection.execute("ROLLBACK")
                connection.execute("BEGIN")
            else:
                self._database.require_in_place(connection)
                raise GalleryError(
                    f"{self.place} is damaged: {self._files.name(state.generation)} is missing; "
                    "bring it back from a copy, or build the gallery again"
                )
            self._database.require_in_place(connection)
            yield _Snapshot(connection, state, vectors)

    def _mapped(self, state: GalleryState) -> MappedRows:
        return self._files.mapped(state.generation, num_rows=state.num_rows, width=state.width)

    def _searched(
        self, now: _Snapshot, covered: CoveredRows, *, within: GalleryFilter
    ) -> SearchedRows:
        return SearchedRows(
            vectors=now.vectors.rows,
            num_pictures=now.state.num_pictures,
            index=covered.index,
            num_indexed=covered.num_rows,
            is_filtered=within != EVERYTHING,
            keys_of=lambda rows: records.keys_of_rows(now.connection, rows, within=within),
            admitted=lambda: records.rows_of_pictures(now.connection, within),
        )

    def _close_gaps(self, connection: Connection, state: GalleryState) -> None:
        """Write the next generation: kept rows only."""
        rows = records.rows_of_pictures(connection)
        generation = state.generation + 1
        self._files.rewrite(self._mapped(state).rows, rows, generation=generation)
        records.renumber_rows(connection)
        records.delete_indexes(connection)
        records.write_rows(
            connection, state, num_rows=len(rows), num_pictures=len(rows), generation=generation
        )

    def _compact_if_hollow(self) -> None:
        with self._database.reading() as connection:
            state = records.read_state(connection)
        if state.num_holes > max(_MOST_HOLES, _HOLES_PER_PICTURE * state.num_pictures):
            # The change itself is kept already; this can be done another time.
            with suppress(GalleryError):
                self.compact()

    def _build_index(self) -> None:
        with self._snapshot() as now:
            state, vectors = now.state, now.vectors
        if state.num_rows:
            self._index.build(state, vectors)

    @contextmanager
    def _indexed(self) -> Iterator[tuple[_Snapshot, CoveredRows]]:
        """Take a snapshot that an index goes with; it is built between two of them if need be."""
        while True:
            with self._snapshot() as now:
                covered = self._index.find(now.connection, now.state, now.vectors)
                if covered is not None:
                    yield now, covered
                    return
            self._build_index()

    def _faults(self, connection: Connection) -> Iterator[str]:
        yield from records.find_faults(connection)
        state = records.read_state(connection)
        short = list(
            self._files.find_faults(state.generation, num_rows=state.num_rows, width=state.width)
        )
        yield from short
        indexes = records.read_indexes(connection, generation=state.generation)
        yield from self._index.find_faults(indexes)
        if not short:
            yield from _faults_of_pictures(
                records.read_checksums(connection),
                self._mapped(state).rows,
                self._files.name(state.generation),
            )


def _faults_of_pictures(kept: Iterator[Checksums], vectors: Tensor, name: str) -> Iterator[str]:
    """Compare records and (R, D) vectors with their checksums."""
    while block := list(islice(kept, _CHECKED_AT_ONCE)):
        within = [checked for checked in block if checked.row < len(vectors)]
        found = vectors[torch.tensor([checked.row for checked in within], dtype=torch.int64)]
        norms = torch.linalg.vector_norm(found, dim=1)
        for checked, checksum, norm in zip(
            within, checksums_of(found), norms.tolist(), strict=True
        ):
            if checksum != checked.vector:
                yield (
                    f"the vector of {_named(checked)} in {name} is damaged: remove the picture, "
                    "then `reid gallery compact`"
                )
            elif not abs(norm - 1) <= NORM_TOLERANCE:
                yield f"the vector of {_named(checked)} in {name} has L2 norm {norm:.4g}, not 1"
        for checked in block:
            if records.record_checksum(checked.picture, checked.thumbnail) != checked.record:
                yield f"the record of {_named(checked)} is damaged: remove the picture"


def _named(checked: Checksums) -> str:
    picture = checked.picture
    return f"{picture.image} of {picture.source} (key {picture.key}, row {checked.row})"
