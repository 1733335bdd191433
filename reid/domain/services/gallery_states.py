"""Consistent states of a gallery's records and vectors, and the work that follows its changes."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from reid.domain.errors import GalleryError
from reid.domain.services.gallery_checks import faults_of_vectors
from reid.domain.values.galleries import RecordsState
from reid.ports.gallery_records import GalleryRecords, RecordsReader, RecordsWriter
from reid.ports.gallery_vectors import GalleryVectors, VectorsGoneError, VectorsView

_SNAPSHOT_TRIES = 100  # a reader seldom meets vectors that were just replaced
_CHECKED_AT_ONCE = 4096

_MOST_REMOVED = 1000
"""Where dropping rewrites all vectors, it waits until more than this are to be dropped, and more
than are kept."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Records and vectors of one state."""

    records: RecordsReader
    state: RecordsState
    view: VectorsView


@dataclass(frozen=True, slots=True)
class GalleryStates:
    """Takes snapshots, drops vectors of removed images, finishes interrupted changes."""

    records: GalleryRecords
    vectors: GalleryVectors
    place: str  # for messages

    @contextmanager
    def current(self) -> Iterator[Snapshot]:
        """Take the newest snapshot; raise a GalleryError if it is damaged or cannot be reached."""
        gone = ""
        for _ in range(_SNAPSHOT_TRIES):
            with self.records.reading() as now:
                state = now.state()
                try:
                    view = self.vectors.view(state.vectors)
                except VectorsGoneError as error:
                    gone = str(error)
                    continue
                now.require_in_place()
                yield Snapshot(now, state, view)
                return
        raise GalleryError(
            f"{self.place} is damaged: {gone}; bring it back from a copy, or build the gallery "
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
            is_worth_keeping = self.vectors.prepare(state.vectors)
        if is_worth_keeping:
            # The index can be saved later: another writer, a full disk or a read-only folder is no
            # reason to refuse an answer.
            with suppress(GalleryError), self.records.writing(waits=False) as change:
                self.vectors.keep_prepared(change.state().vectors)

    def faults(self) -> Iterator[str]:
        """Look for damage; the last sentence may say why nothing more can be read."""
        try:
            with self.records.reading() as now:
                yield from now.faults()
                yield from self.vectors.faults(now.state().vectors)
            with self.current() as whole:
                after = 0
                while page := whole.records.page(after=after, limit=_CHECKED_AT_ONCE):
                    keys = [image.key for image in page]
                    after = keys[-1]
                    checksums = whole.records.checksums(keys)
                    yield from faults_of_vectors(page, whole.view.of(keys), checksums=checksums)
        except GalleryError as error:
            yield str(error)

    def finish_changes(self) -> None:
        """Finish interrupted changes, unless another writer is at work."""
        with suppress(GalleryError):
            with self.records.reading() as now:
                state = now.state()
                is_left = self.vectors.has_leftovers(state.vectors, last_key=state.last_key)
            if state.is_erasing:
                self.leave_no_trace(waits=False)
            elif is_left or self._is_worth_dropping(state):
                self._drop_removed(waits=False)

    def follow_up(self) -> None:
        """Do the work that a committed change has made due; if it fails, it is done later."""
        with suppress(GalleryError):
            with self.records.reading() as now:
                state = now.state()
            if self._is_worth_dropping(state):
                self._drop_removed(waits=True)
            self.vectors.settle()

    def leave_no_trace(self, *, waits: bool = True, is_thorough: bool = False) -> None:
        """Drop everything that was removed, and clear its traces.

        An erasure stays pending until the end, so that another process can finish it.
        """
        with self.records.writing(waits=waits) as change:
            state = self._drop(change)
        self.records.reclaim(is_thorough=is_thorough)
        self.vectors.reclaim(state.vectors, is_thorough=is_thorough)
        with self.records.writing() as change:
            now = change.state()
            self.vectors.tidy(now.vectors, last_key=now.last_key)
            # An erasure that began meanwhile is ended by its own process.
            if now.is_erasing and now.description.version == state.description.version:
                change.end_erasure()

    def _is_worth_dropping(self, state: RecordsState) -> bool:
        if not self.vectors.rewrites:
            return state.num_removed > 0
        return state.num_removed > max(_MOST_REMOVED, state.description.num_images)

    def _drop_removed(self, *, waits: bool) -> None:
        """Drop the vectors of removed images, then what interrupted changes left."""
        with self.records.writing(waits=waits) as change:
            self._drop(change)
        with self.records.writing(waits=waits) as change:
            state = change.state()
            self.vectors.tidy(state.vectors, last_key=state.last_key)

    def _drop(self, change: RecordsWriter) -> RecordsState:
        state = change.state()
        if state.num_removed:
            change.keep_vectors_state(self.vectors.drop(state.vectors, change.removed()))
            change.forget_removed()
        return change.state()
