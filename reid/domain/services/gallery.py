"""A gallery: images of known people, kept as vectors and records.

The rules by which records and vectors stay consistent are here, once for all kinds of galleries:

* The records are the truth. An image is in the gallery when its record is.
* An addition writes vectors first, then commits the records that make them count.
* A removal first commits the removal of the records and the keys whose vectors are to be dropped;
  then the vectors are dropped. An erasure is recorded as pending until no trace is left.
* What a crash leaves in between is part of no answer. The next writer, opening a gallery in files,
  and `check` finish the change.

Letters: N images added, Q queries, D width, K answers.
"""

from collections.abc import Iterator, Sequence
from typing import Unpack

from torch import Tensor

from reid.domain.errors import GalleryError
from reid.domain.services.gallery_checks import (
    check_additions,
    check_queries,
    checksums_of,
    require_kept,
)
from reid.domain.services.gallery_search import search_view
from reid.domain.services.gallery_states import GalleryStates
from reid.domain.values.features import Neighbours
from reid.domain.values.galleries import (
    EVERYTHING,
    AuditEntry,
    EncoderFingerprint,
    GalleryDescription,
    GalleryFilter,
    ImageLookup,
    KeptImage,
    NewImage,
)
from reid.domain.values.open_set import Calibration, with_calibrations
from reid.ports.gallery_records import GalleryRecords
from reid.ports.gallery_vectors import GalleryVectors

PAGE_SIZE = 8192  # images; with 1280-d vectors beside them, 40 MiB


class Gallery:
    """Vectors and records of images, search over them, and an audit log.

    Every change happens as a whole or not at all, also when the process or the machine dies during
    it, and is durable once the call returns. A reader sees one state or the next, never a mixture.
    There is one writer at a time; others wait or are refused with a message.
    """

    def __init__(
        self, records: GalleryRecords, vectors: GalleryVectors, *, place: str | None = None
    ) -> None:
        """Keep the parts; `place` names the gallery in messages, None: as the records do."""
        self._records = records
        self._vectors = vectors
        self.place = records.place if place is None else place
        self._states = GalleryStates(records, vectors, self.place)

    @property
    def is_exact(self) -> bool:
        """False where reports must call results approximate."""
        return self._vectors.is_exact

    @property
    def recall(self) -> float:
        """Share of nearest neighbours found, as measured by the index in use; 1 if exact."""
        with self._states.searchable() as now:
            return now.view.recall

    @property
    def residual_traces(self) -> str | None:
        """Where bytes of erased images may remain, and what clears them; None: nowhere.

        Completes the sentence "Traces may stay ". Backups and copies are not mentioned.
        """
        known = (self._records.residual_traces, self._vectors.residual_traces)
        return "; ".join(traces for traces in known if traces) or None

    def describe(self) -> GalleryDescription:
        """Summarise what is kept, at a cost that does not grow with it."""
        with self._records.reading() as now:
            return now.state().description

    def images(self, **wanted: Unpack[ImageLookup]) -> tuple[KeptImage, ...]:
        """List images by ascending key: all of them, or those that every given condition admits.

        Unknown keys and names are ignored. Given keys, labels, contents, or a source, a gallery
        reads those images only.
        """
        with self._records.reading() as now:
            return now.images(**wanted)

    def pages(self, size: int = PAGE_SIZE) -> Iterator[tuple[KeptImage, ...]]:
        """Yield all images by ascending key in pages, so that only a part of them is in memory.

        Each page is of the state when it is read; compare `describe().version` where that matters.
        """
        after = 0
        while True:
            with self._records.reading() as now:
                page = now.page(after=after, limit=size)
            if not page:
                return
            yield page
            after = page[-1].key

    def vectors(self, keys: Sequence[int]) -> Tensor:
        """Look up vectors: (len(keys), D) float32 on the CPU, in the order of the keys.

        Raises:
            GalleryError: A key is not kept.
        """
        with self._states.current() as now:
            require_kept(keys, now.records.admitted(keys, within=EVERYTHING), place=self.place)
            return now.view.of(keys)

    def thumbnail(self, key: int) -> bytes | None:
        """Look up an image's thumbnail; None where none is kept."""
        with self._records.reading() as now:
            return now.thumbnail(key)

    def without_thumbnail(self, keys: Sequence[int]) -> frozenset[int]:
        """Choose the keys of kept images without a thumbnail."""
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
        """Add images in one transaction; each replaces an image of the same source and name.

        The vectors are (N, D) float32, rows of unit L2 norm, by the encoder of `fingerprint`, of
        which the first one decides. The entry's time is the time of adding.

        Returns:
            The keys, in the order of the images.

        Raises:
            GalleryError: Another encoder made what is kept, lengths differ, a row is not of unit
                norm, or nothing can be written; nothing is changed then.
        """
        self._states.finish_changes()
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
        self._states.follow_up()
        return tuple(image.key for image in kept)

    def remove(self, keys: Sequence[int], *, entry: AuditEntry) -> int:
        """Remove images in one transaction, ignoring unknown keys; return how many were kept.

        No later search finds them. Their traces on the disk are cleared by `compact`.
        """
        self._states.finish_changes()
        with self._records.writing() as change:
            num_removed = change.remove(keys, erases=False)
            change.note(entry)
        self._states.follow_up()
        return num_removed

    def erase(self, keys: Sequence[int], *, entry: AuditEntry) -> int:
        """Erase images: vectors, records, thumbnails, index entries; return how many were kept.

        Every gallery guarantees: once the call has returned, no method of any client returns
        anything of them, no search finds them, and everything that the gallery can delete is
        deleted. A gallery in files guarantees that no byte of them is in its files. A gallery on a
        server cannot reach the server's logs, nor decide when space is freed: see
        `residual_traces`.
        """
        self._states.finish_changes()
        with self._records.writing() as change:
            num_erased = change.remove(keys, erases=True)
            change.note(entry)
        try:
            self._states.leave_no_trace()
        except GalleryError as error:
            raise GalleryError(
                f"{error}; the images are removed, but traces of them stay: compact the gallery "
                "afterwards"
            ) from error
        return num_erased

    def search(self, queries: Tensor, k: int, *, within: GalleryFilter = EVERYTHING) -> Neighbours:
        """Rank images by cosine distance 1 - cos, nearest first, ties by key.

        Queries are (Q, D) float32, rows of unit L2 norm; k is at least 1.

        Returns:
            Indices are keys. min(k, images) columns; where fewer were found or admitted, key -1 at
            distance infinity, last.

        Raises:
            GalleryError: The gallery is empty, k below 1, or queries of another width or not of
                unit norm.
        """
        asked = queries.detach().cpu().float()
        with self._states.searchable() as now:
            known = now.state.description
            check_queries(asked, k=k, known=known)
            num_answers, is_filtering = min(k, known.num_images), self._vectors.filters
            return search_view(now, asked, num_answers, within=within, is_filtering=is_filtering)

    def calibrate(self, calibrations: Sequence[Calibration], *, entry: AuditEntry) -> None:
        """Keep calibrations, each in place of that of the same fusion."""
        with self._records.writing() as change:
            known = change.state().description.calibrations
            change.calibrate(with_calibrations(known, calibrations))
            change.note(entry)

    def note(self, entry: AuditEntry) -> None:
        """Write a line of the audit log without a change."""
        with self._records.writing() as change:
            change.note(entry)

    def audit(self) -> tuple[AuditEntry, ...]:
        """Read the audit log, oldest first."""
        with self._records.reading() as now:
            return now.audit()

    def check(self) -> tuple[str, ...]:
        """Look for damage (digests, lengths, norms, records without vectors): a sentence each."""
        self._states.finish_changes()
        return tuple(self._states.faults())

    def compact(self) -> None:
        """Free the space of removed images, clear their traces, and rebuild the index."""
        self._states.leave_no_trace(is_thorough=True)
        with self._records.reading() as now:
            state = now.state()
        if state.description.num_images:
            self._states.prepare(state)

    def finish_changes(self) -> None:
        """Finish interrupted changes, unless another writer is at work."""
        self._states.finish_changes()

    def close(self) -> None:
        """Release files and connections; safe to call twice."""
        self._vectors.close()
        self._records.close()
