"""Pictures of known people, kept as vectors.

Letters: G pictures kept, N pictures added, Q queries, D width, K answers.
"""

from collections.abc import Sequence
from typing import Protocol, Unpack

from torch import Tensor

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
)
from reid.domain.values.ranking import Neighbours


class Gallery(Protocol):
    """Vectors, what is known of their pictures, an audit log, and search over them.

    Every change is whole or not at all, also when the process or the machine dies in the midst of
    it, and is kept once the call returns. A reader sees one state or the next, never a mixture; one
    writer at a time, others wait or are refused with a message.
    """

    @property
    def place(self) -> str:
        """Where it is kept, in words."""
        ...

    @property
    def is_exact(self) -> bool:
        """False obliges whoever reports a result to call it approximate."""
        ...

    @property
    def recall(self) -> float:
        """Share of nearest neighbours found, as measured by the index in use; 1 if exact."""
        ...

    @property
    def beyond_erasing(self) -> str | None:
        """Where bytes of erased pictures may still lie, and what clears them; None: nowhere.

        In words, to follow "Traces may stay ". Backups and copies of any kind are left unsaid.
        """
        ...

    def describe(self) -> GalleryDescription:
        """Say what is kept, at a cost that does not grow with it.

        Raises:
            GalleryError: It is damaged or cannot be reached.
        """
        ...

    def pictures(self, **wanted: Unpack[PictureLookup]) -> tuple[KeptPicture, ...]:
        """List pictures by ascending key: all of them, or those that every condition given admits.

        Unknown keys and names are passed over. Asked for keys, labels, contents, or images of a
        source, a gallery reads those and not everything it keeps.
        """
        ...

    def page(self, *, after: int, limit: int) -> tuple[KeptPicture, ...]:
        """List the next pictures by ascending key, so that large galleries are read in parts.

        Pages are of the state at their own time: compare `describe().version` where that matters.

        Args:
            after: Keys begin above it; 0 for the first page.
            limit: Most pictures, at least 1.

        Returns:
            As many as there are, up to the limit; none at the end.
        """
        ...

    def vectors(self, keys: Sequence[int]) -> Tensor:
        """Look up vectors.

        Returns:
            (len(keys), D) float32 on the CPU, in the order of the keys.

        Raises:
            GalleryError: A key is not kept.
        """
        ...

    def thumbnail(self, key: int) -> bytes | None:
        """Look up a picture's thumbnail; None where none is kept."""
        ...

    def without_thumbnail(self, keys: Sequence[int]) -> frozenset[int]:
        """Say of which of some pictures no thumbnail is kept; unknown keys are passed over."""
        ...

    def add(
        self,
        pictures: Sequence[NewPicture],
        vectors: Tensor,
        *,
        stamp: EncoderStamp,
        entry: AuditEntry,
    ) -> tuple[int, ...]:
        """Keep pictures in one transaction.

        A picture of the same source and image name takes the place of the one before it.

        Args:
            pictures: N.
            vectors: (N, D) float32, rows of unit L2 norm.
            stamp: Which encoder made them; the first one decides.
            entry: Of the audit log; its time is the time of adding.

        Returns:
            The keys, in the order of the pictures.

        Raises:
            GalleryError: Another encoder made what is kept (both are named), lengths differ, a row
                is not of unit norm, or nothing can be written; nothing is changed then.
        """
        ...

    def remove(self, keys: Sequence[int], *, entry: AuditEntry) -> int:
        """Stop keeping pictures in one transaction; unknown keys are passed over.

        They are no answer of any later search. What they leave behind on the disk goes with
        `compact`.

        Returns:
            How many were kept.
        """
        ...

    def erase(self, keys: Sequence[int], *, entry: AuditEntry) -> int:
        """Remove pictures for good: vectors, records, thumbnails, index entries.

        Every gallery keeps this: once the call has returned, no method of any client gives anything
        of them, they are no answer of any search, and what the gallery itself can delete or have
        deleted, it has.

        A gallery in files keeps more: no byte of them is in any of its files. A gallery that a
        server keeps cannot reach the server's logs, nor decide when it gives room back; what may
        stay there, `beyond_erasing` says.

        Returns:
            How many were kept.
        """
        ...

    def search(self, queries: Tensor, k: int, *, within: GalleryFilter = EVERYTHING) -> Neighbours:
        """Rank pictures by cosine distance 1 - cos, nearest first, ties by key.

        Args:
            queries: (Q, D) float32, rows of unit L2 norm.
            k: How many answers are wanted, at least 1.
            within: Which pictures are looked at.

        Returns:
            Indices are keys. min(k, G) columns; where fewer were found or admitted, key -1 at
            distance infinity, last.

        Raises:
            GalleryError: Nothing is kept, k below 1, or queries of another width or not of unit
                norm.
        """
        ...

    def calibrate(self, calibrations: Sequence[Calibration], *, entry: AuditEntry) -> None:
        """Keep how similarities become decisions, each in place of that of the same fusion."""
        ...

    def note(self, entry: AuditEntry) -> None:
        """Write a line of the audit log that goes with no change."""
        ...

    def audit(self) -> tuple[AuditEntry, ...]:
        """Read the audit log, oldest first."""
        ...

    def check(self) -> tuple[str, ...]:
        """Look for damage: digests, lengths, norms, records without vectors and the other way.

        Returns:
            A sentence per fault; empty where all is well.
        """
        ...

    def compact(self) -> None:
        """Give back the room of removed pictures and rebuild the index."""
        ...

    def close(self) -> None:
        """Let go of files and connections; safe to call twice."""
        ...
