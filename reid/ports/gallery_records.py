"""Records of a gallery's images, which decide which vectors count.

An image is in a gallery when its record is. Vectors are kept elsewhere (see `gallery_vectors`);
their adapter describes where they are in a short text, the *vectors' state*, which is kept here, so
that it changes in the same transaction as the records.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, Unpack

from reid.domain.values.galleries import (
    AuditEntry,
    EncoderFingerprint,
    GalleryFilter,
    ImageLookup,
    KeptImage,
    NewImage,
    RecordsState,
)
from reid.domain.values.open_set import Calibration


class RecordsReader(Protocol):
    """One state of the records, whatever is written meanwhile."""

    def state(self) -> RecordsState:
        """Read the state, at a cost that does not grow with the gallery.

        Raises:
            GalleryError: It is damaged.
        """

    def images(self, **wanted: Unpack[ImageLookup]) -> tuple[KeptImage, ...]:
        """List images by ascending key that every given condition admits.

        Unknown keys and names are ignored. Given keys, labels, contents, or a source, it reads
        those images only.
        """

    def page(self, *, after: int, limit: int) -> tuple[KeptImage, ...]:
        """List the next images by ascending key, at most `limit` of them."""

    def admitted(self, keys: Sequence[int], *, within: GalleryFilter) -> frozenset[int]:
        """Choose the keys of images that are kept and that a filter admits."""

    def all_admitted(self, *, within: GalleryFilter) -> Sequence[int]:
        """List the keys of all images that a filter admits, ascending."""

    def checksums(self, keys: Sequence[int]) -> Mapping[int, int]:
        """Look up checksums of vectors by key; unknown keys are ignored."""

    def thumbnail(self, key: int) -> bytes | None:
        """Look up an image's thumbnail; None where none is kept."""

    def without_thumbnail(self, keys: Sequence[int]) -> frozenset[int]:
        """Choose the keys of kept images without a thumbnail."""

    def removed(self) -> tuple[int, ...]:
        """List keys of removed images whose vectors may still exist, ascending."""

    def audit(self) -> tuple[AuditEntry, ...]:
        """Read the audit log, oldest first."""

    def faults(self) -> Iterator[str]:
        """Look for damage: digests, counts, records that contradict each other.

        Yields:
            A sentence per fault, without the gallery's name.
        """

    def require_in_place(self) -> None:
        """Check that the records were not moved, deleted or replaced meanwhile.

        Called after vectors were opened by the state: they are beside the records, where those of
        another gallery may be by now. Does nothing where that cannot happen.

        Raises:
            GalleryError: They were.
        """


class RecordsWriter(RecordsReader, Protocol):
    """A change in progress; reads see what it has changed."""

    def add(
        self,
        images: Sequence[NewImage],
        *,
        checksums: Sequence[int],
        fingerprint: EncoderFingerprint,
        at: str,
    ) -> tuple[KeptImage, ...]:
        """Keep records under keys that ascend and were never assigned before.

        Records of the same source and image name are removed as by `remove`. The fingerprint is
        kept where there is none. The version grows.

        Args:
            images: N, of distinct names.
            checksums: N, of their vectors.
            fingerprint: Of the encoder that made the vectors.
            at: Time of adding.
        """

    def remove(self, keys: Sequence[int], *, erases: bool) -> int:
        """Delete records and thumbnails, and list their keys as removed; the version grows.

        Unknown keys are ignored. With `erases`, an erasure is pending until `end_erasure`.

        Returns:
            How many there were.
        """

    def keep_vectors_state(self, state: str) -> None:
        """Replace the vectors' state."""

    def forget_removed(self) -> None:
        """Clear the list of removed keys, whose vectors are dropped."""

    def end_erasure(self) -> None:
        """Record that the erasure is finished."""

    def calibrate(self, calibrations: Sequence[Calibration]) -> None:
        """Replace all calibrations."""

    def note(self, entry: AuditEntry) -> None:
        """Append a line to the audit log."""


class GalleryRecords(Protocol):
    """Records in transactions, which are atomic also when the process or the machine dies.

    A thread holds at most one transaction of one gallery at a time.
    """

    @property
    def place(self) -> str:
        """What to call the gallery in messages."""

    @property
    def residual_traces(self) -> str | None:
        """Where bytes of erased records may remain, and what clears them; None: nowhere.

        Completes the sentence "Traces may stay ". Backups and copies are not mentioned.
        """

    def reading(self) -> AbstractContextManager[RecordsReader]:
        """Begin a transaction that reads one state.

        Raises:
            GalleryError: The records are missing or damaged, or cannot be reached.
        """

    def writing(self, *, waits: bool = True) -> AbstractContextManager[RecordsWriter]:
        """Begin a transaction as the one writer, committed at the end, undone by an exception.

        Args:
            waits: Whether another writer is waited for.

        Raises:
            GalleryError: Another writer does not finish in time, or nothing can be written.
        """

    def reclaim(self, *, is_thorough: bool) -> None:
        """Clear the traces of deleted records; called without an open transaction.

        Args:
            is_thorough: Also free all space, however long that takes and blocks others.

        Raises:
            GalleryError: It cannot be done now.
        """

    def close(self) -> None:
        """Release files and connections; safe to call twice."""
