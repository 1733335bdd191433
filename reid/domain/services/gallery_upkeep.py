"""Work that follows the changes of a gallery, done at once or by the next writer."""

from contextlib import suppress

from reid.domain.errors import GalleryError
from reid.domain.values.galleries import RecordsState
from reid.ports.gallery_records import GalleryRecords, RecordsWriter
from reid.ports.gallery_vectors import GalleryVectors

_MOST_REMOVED = 1000
"""Where dropping rewrites all vectors, it waits until more than this are to be dropped, and more
than are kept."""


class GalleryUpkeep:
    """Drops vectors of removed images, clears traces, finishes interrupted changes."""

    def __init__(self, records: GalleryRecords, vectors: GalleryVectors) -> None:
        """Keep the parts of the gallery."""
        self._records = records
        self._vectors = vectors

    def finish_changes(self) -> None:
        """Finish interrupted changes, unless another writer is at work."""
        with suppress(GalleryError):
            with self._records.reading() as now:
                state = now.state()
                is_left = self._vectors.has_leftovers(state.vectors, last_key=state.last_key)
            if state.is_erasing:
                self.leave_no_trace(waits=False)
            elif is_left or self._is_worth_dropping(state):
                self._drop_removed(waits=False)

    def follow_up(self) -> None:
        """Do the work that a committed change has made due; if it fails, it is done later."""
        with suppress(GalleryError):
            with self._records.reading() as now:
                state = now.state()
            if self._is_worth_dropping(state):
                self._drop_removed()
            self._vectors.settle()

    def _is_worth_dropping(self, state: RecordsState) -> bool:
        if not self._vectors.rewrites:
            return state.num_removed > 0
        return state.num_removed > max(_MOST_REMOVED, state.description.num_images)

    def _drop_removed(self, *, waits: bool = True) -> None:
        """Drop the vectors of removed images, then what interrupted changes left."""
        with self._records.writing(waits=waits) as change:
            self._drop(change, change.state())
        with self._records.writing(waits=waits) as change:
            state = change.state()
            self._vectors.tidy(state.vectors, last_key=state.last_key)

    def leave_no_trace(self, *, waits: bool = True, is_thorough: bool = False) -> None:
        """Drop everything that was removed, and clear its traces.

        An erasure stays pending until the end, so that another process can finish it.
        """
        with self._records.writing(waits=waits) as change:
            state = change.state()
            self._drop(change, state)
        self._records.reclaim(is_thorough=is_thorough)
        self._vectors.reclaim(is_thorough=is_thorough)
        with self._records.writing() as change:
            now = change.state()
            self._vectors.tidy(now.vectors, last_key=now.last_key)
            # An erasure that began meanwhile is ended by its own process.
            if now.is_erasing and now.description.version == state.description.version:
                change.end_erasure()

    def _drop(self, change: RecordsWriter, state: RecordsState) -> None:
        if state.num_removed:
            change.keep_vectors_state(self._vectors.drop(state.vectors, change.removed()))
            change.forget_removed()
