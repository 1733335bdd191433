"""Consistent states of a gallery's records and vectors."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from reid.domain.errors import GalleryError
from reid.domain.services.gallery_checks import faults_of_vectors
from reid.domain.values.galleries import RecordsState
from reid.ports.gallery_records import GalleryRecords, RecordsReader
from reid.ports.gallery_vectors import GalleryVectors, VectorsGoneError, VectorsView

_SNAPSHOT_TRIES = 100
"""A reader seldom meets vectors that were just replaced, and never this often in a row."""

_CHECKED_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Records and vectors of one state."""

    records: RecordsReader
    state: RecordsState
    view: VectorsView

    def faults(self) -> Iterator[str]:
        """Compare all vectors with their checksums."""
        after = 0
        while page := self.records.page(after=after, limit=_CHECKED_AT_ONCE):
            keys = [image.key for image in page]
            after = keys[-1]
            checksums = self.records.checksums(keys)
            yield from faults_of_vectors(page, self.view.of(keys), checksums=checksums)


class GallerySnapshots:
    """Takes snapshots; indexes are prepared between two of them."""

    def __init__(self, records: GalleryRecords, vectors: GalleryVectors, *, place: str) -> None:
        """Keep the parts of the gallery, and what to call it in messages."""
        self._records = records
        self._vectors = vectors
        self._place = place

    @contextmanager
    def current(self) -> Iterator[Snapshot]:
        """Take the newest snapshot; raise a GalleryError if it is damaged or cannot be reached."""
        gone = ""
        for _ in range(_SNAPSHOT_TRIES):
            with self._records.reading() as now:
                state = now.state()
                try:
                    view = self._vectors.view(state.vectors)
                except VectorsGoneError as error:
                    gone = str(error)
                    continue
                now.require_in_place()
                yield Snapshot(now, state, view)
                return
        raise GalleryError(
            f"{self._place} is damaged: {gone}; bring it back from a copy, or build the gallery "
            "again"
        )

    @contextmanager
    def searchable(self) -> Iterator[Snapshot]:
        """Take a snapshot that can be searched, preparing the index first where necessary."""
        while True:
            with self.current() as now:
                if now.view.is_ready:
                    yield now
                    return
                state = now.state
            self.prepare(state)

    def prepare(self, state: RecordsState) -> None:
        """Make the vectors of a state searchable, which may take long."""
        is_worth_keeping = False
        with suppress(VectorsGoneError):
            is_worth_keeping = self._vectors.prepare(state.vectors)
        if is_worth_keeping:
            # The index can be saved later: another writer, a full disk or a read-only folder is no
            # reason to refuse an answer.
            with suppress(GalleryError), self._records.writing(waits=False) as change:
                self._vectors.keep_prepared(change.state().vectors)
