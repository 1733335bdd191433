"""A gallery: images of known people, kept as vectors with what is known of the images.

The rules by which records and vectors stay together are here, once for all kinds of galleries:

* The records are the truth. An image is in the gallery when its record is.
* An addition writes vectors first, then commits the records that make them count.
* A removal commits the records first, and with them the keys whose vectors are to go; then the
  vectors are dropped. An erasure is recorded as pending until no trace is left.
* What a crash leaves in between is no part of any answer. The next writer, whoever opens a gallery
  in files, and `check` find it and finish the change.

Letters: N images added, Q queries, D width, K answers.
"""

from collections.abc import Sequence
from typing import Unpack

from torch import Tensor

from reid.domain.errors import GalleryError
from reid.domain.services.gallery_checks import (
    check_additions,
    check_question,
    checksums_of,
    require_kept,
)
from reid.domain.services.gallery_search import search_view
from reid.domain.services.gallery_snapshots import GallerySnapshots
from reid.domain.services.gallery_upkeep import GalleryUpkeep
from reid.domain.values.galleries import (
    EVERYTHING,
    AuditEntry,
    Calibration,
    EncoderFingerprint,
    GalleryDescription,
    GalleryFilter,
    ImageLookup,
    KeptImage,
    NewImage,
    with_calibrations,
)
from reid.domain.values.ranking import Neighbours
from reid.ports.gallery_records import GalleryRecords
from reid.ports.gallery_vectors import GalleryVectors


class Gallery:
    """Vectors, what is known of their images, an audit log, and search over them.

    Every change is whole or not at all, also when the process or the machine dies in the midst of
    it, and is kept once the call returns. A reader sees one state or the next, never a mixture; one
    writer at a time, others wait or are refused with a message.
    """

    def __init__(
        self, records: GalleryRecords, vectors: GalleryVectors, *, place: str | None = None
    ) -> None:
        """Keep the parts; nothing is read yet.

        Args:
            records: Of the images.
            vectors: Of the same images.
            place: What to call the gallery in messages; None: as the records do.
        """
        self._records = records
        self._vectors = vectors
        self.place = records.place if place is None else place
        """Where it is kept, for messages."""

        self._snapshots = GallerySnapshots(records, vectors, place=self.place)
        self._upkeep = GalleryUpkeep(records, vectors)

    @property
    def is_exact(self) -> bool:
        """False obliges whoever reports a result to call it approximate."""
        return self._vectors.is_exact

    @property
    def recall(self) -> float:
        """Share of nearest neighbours found, as measured by the index in use; 1 if exact."""
        with self._snapshots.searchable() as now:
            return now.view.recall

    @property
    def residual_traces(self) -> str | None:
        """Where bytes of erased images may still lie, and what clears them; None: nowhere.

        It follows "Traces may stay ". Backups and copies of any kind are left unsaid.
        """
        known = (self._records.residual_traces, self._vectors.residual_traces)
        return "; ".join(traces for traces in known if traces) or None

    def describe(self) -> GalleryDescription:
        """Summarise what is kept, at a cost that does not grow with it."""
        with self._records.reading() as now:
            return now.state().description

    def images(self, **wanted: Unpack[ImageLookup]) -> tuple[KeptImage, ...]:
        """List images by ascending key: all of them, or those that every condition given admits.

        Unknown keys and names are passed over. Asked for keys, labels, contents, or images of a
        source, a gallery reads those and not everything it keeps.
        """
        with self._records.reading() as now:
            return now.images(**wanted)

    def page(self, *, after: int, limit: int) -> tuple[KeptImage, ...]:
        """List the next images by ascending key, to read large galleries in parts.

        Pages are of the state at their own time: compare `describe().version` where that matters.
        The first begins after key 0, the last is empty.
        """
        with self._records.reading() as now:
            return now.page(after=after, limit=limit)

    def vectors(self, keys: Sequence[int]) -> Tensor:
        """Look up vectors.

        Returns:
            (len(keys), D) float32 on the CPU, in the order of the keys.

        Raises:
            GalleryError: A key is not kept.
        """
        with self._snapshots.current() as now:
            require_kept(keys, now.records.admitted(keys, within=EVERYTHING), place=self.place)
            return now.view.of(keys)

    def thumbnail(self, key: int) -> bytes | None:
        """Look up an image's thumbnail; None where none is kept."""
        with self._records.reading() as now:
            return now.thumbnail(key)

    def without_thumbnail(self, keys: Sequence[int]) -> frozenset[int]:
        """Choose the keys of images of which no thumbnail is kept; unknown keys are left out."""
        with self._records.reading() as now:
            return now.without_thumbnail(keys)

    def add(
        self,
        images: Sequence[NewImage],
        vectors: Tensor,
        *,
        fingerprint: EncoderFingerprint,
        entry: AuditEntry,
    ) -> tuple[int, ...]:
        """Keep images in one transaction.

        An image of the same source and name takes the place of the one before it.

        Args:
            images: N.
            vectors: (N, D) float32, rows of unit L2 norm.
            fingerprint: Which encoder made them; the first one decides.
            entry: Line of the audit log; its time is the time of adding.

        Returns:
            The keys, in the order of the images.

        Raises:
            GalleryError: Another encoder made what is kept (both are named), lengths differ, a row
                is not of unit norm, or nothing can be written; nothing is changed then.
        """
        self._upkeep.finish_changes()
        with self._records.writing() as change:
            state = change.state()
            check_additions(
                images,
                vectors,
                fingerprint=fingerprint,
                kept=state.description.fingerprint,
                place=self.place,
            )
            kept = change.add(
                images, checksums=checksums_of(vectors), fingerprint=fingerprint, at=entry.at
            )
            change.keep_vectors_state(self._vectors.add(state.vectors, kept, vectors))
            change.note(entry)
        self._upkeep.follow_up()
        return tuple(image.key for image in kept)

    def remove(self, keys: Sequence[int], *, entry: AuditEntry) -> int:
        """Stop keeping images in one transaction; unknown keys are passed over.

        They are no answer of any later search. What they leave behind on the disk goes with
        `compact`.

        Returns:
            How many were kept.
        """
        self._upkeep.finish_changes()
        with self._records.writing() as change:
            num_removed = change.remove(keys, erases=False)
            change.note(entry)
        self._upkeep.follow_up()
        return num_removed

    def erase(self, keys: Sequence[int], *, entry: AuditEntry) -> int:
        """Remove images for good: vectors, records, thumbnails, index entries.

        Every gallery keeps this: once the call has returned, no method of any client gives anything
        of them, they are no answer of any search, and what the gallery itself can delete or have
        deleted, it has.

        A gallery in files keeps more: no byte of them is in any of its files. A gallery that a
        server keeps cannot reach the server's logs, nor decide when it gives room back; what may
        stay there, `residual_traces` says.

        Returns:
            How many were kept.
        """
        self._upkeep.finish_changes()
        with self._records.writing() as change:
            num_erased = change.remove(keys, erases=True)
            change.note(entry)
        try:
            self._upkeep.leave_no_trace()
        except GalleryError as error:
            raise GalleryError(
                f"{error}; the images are removed, but traces of them stay: compact the "
                "gallery afterwards"
            ) from error
        return num_erased

    def search(self, queries: Tensor, k: int, *, within: GalleryFilter = EVERYTHING) -> Neighbours:
        """Rank images by cosine distance 1 - cos, nearest first, ties by key.

        Args:
            queries: (Q, D) float32, rows of unit L2 norm.
            k: How many answers are wanted, at least 1.
            within: Which images are looked at.

        Returns:
            Indices are keys. min(k, images) columns; where fewer were found or admitted, key -1 at
            distance infinity, last.

        Raises:
            GalleryError: Nothing is kept, k below 1, or queries of another width or not of unit
                norm.
        """
        asked = queries.detach().cpu().float()
        with self._snapshots.searchable() as now:
            known = now.state.description
            check_question(asked, k=k, fingerprint=known.fingerprint, num_images=known.num_images)
            return search_view(
                now.view,
                asked,
                min(k, known.num_images),
                records=now.records,
                state=now.state,
                within=within,
                is_filtering=self._vectors.filters,
            )

    def calibrate(self, calibrations: Sequence[Calibration], *, entry: AuditEntry) -> None:
        """Keep how similarities become decisions, each in place of that of the same fusion."""
        with self._records.writing() as change:
            known = change.state().description.calibrations
            change.calibrate(with_calibrations(known, calibrations))
            change.note(entry)

    def note(self, entry: AuditEntry) -> None:
        """Write a line of the audit log that goes with no change."""
        with self._records.writing() as change:
            change.note(entry)

    def audit(self) -> tuple[AuditEntry, ...]:
        """Read the audit log, oldest first."""
        with self._records.reading() as now:
            return now.audit()

    def check(self) -> tuple[str, ...]:
        """Look for damage: digests, lengths, norms, records without vectors.

        Returns:
            A sentence per fault; empty where all is well.
        """
        self._upkeep.finish_changes()
        try:
            with self._records.reading() as now:
                faults = [*now.faults(), *self._vectors.faults(now.state().vectors)]
            with self._snapshots.current() as whole:
                faults += whole.faults()
        except GalleryError as error:
            return (str(error),)
        return tuple(faults)

    def compact(self) -> None:
        """Give back the room of removed images, leave no trace of them, and rebuild the index."""
        self._upkeep.leave_no_trace(is_thorough=True)
        with self._records.reading() as now:
            state = now.state()
        if state.description.num_images:
            self._snapshots.prepare(state)

    def finish_changes(self) -> None:
        """Finish what an interrupted process began, where it can be done now."""
        self._upkeep.finish_changes()

    def close(self) -> None:
        """Release files and connections; safe to call twice."""
        self._vectors.close()
        self._records.close()
