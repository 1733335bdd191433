"""What is known of a gallery's images: the truth that says which vectors count.

An image is in a gallery when its record is. Vectors are kept elsewhere (see `gallery_vectors`);
their adapter tells what it needs to find them again in a short text, the *vectors' state*, which is
kept here, so that it changes in the same transaction as the records.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, Unpack

from reid.domain.values.galleries import (
    AuditEntry,
    Calibration,
    EncoderFingerprint,
    GalleryFilter,
    ImageLookup,
    KeptImage,
    NewImage,
    RecordsState,
)


class RecordsReader(Protocol):
    """One state of the records, whatever is written meanwhile."""

    def state(self) -> RecordsState:
        """Read what is known of the whole, at a cost that does not grow with it.

        Raises:
            GalleryError: It is damaged.
        """
        ...

    def images(self, **wanted: Unpack[ImageLookup]) -> tuple[KeptImage, ...]:
        """List images by ascending key that every condition given admits.

        Unknown keys and names are passed over. Asked for keys, labels, contents, or images of a
        source, it reads those and not everything.
        """
        ...

    def page(self, *, after: int, limit: int) -> tuple[KeptImage, ...]:
        """List the next images by ascending key, at most `limit` of them."""
        ...

    def admitted(self, keys: Sequence[int], *, within: GalleryFilter) -> frozenset[int]:
        """Choose the keys of images that are kept and that a filter admits."""
        ...

    def all_admitted(self, *, within: GalleryFilter) -> Sequence[int]:
        """List the keys of all images that a filter admits, ascending."""
        ...

    def checksums(self, keys: Sequence[int]) -> Mapping[int, int]:
        """Look up what was kept as checksums of vectors, by key; unknown keys are passed over."""
        ...

    def thumbnail(self, key: int) -> bytes | None:
        """Look up an image's thumbnail; None where none is kept."""
        ...

    def without_thumbnail(self, keys: Sequence[int]) -> frozenset[int]:
        """Choose the keys of images of which no thumbnail is kept; unknown keys are left out."""
        ...

    def removed(self) -> tuple[int, ...]:
        """List keys of removed images whose vectors are not known to have gone, ascending."""
        ...

    def audit(self) -> tuple[AuditEntry, ...]:
        """Read the audit log, oldest first."""
        ...

    def faults(self) -> Iterator[str]:
        """Look for damage: digests, counts, records that contradict each other.

        Yields:
            A sentence per fault, without the gallery's name.
        """
        ...

    def require_in_place(self) -> None:
        """Refuse to go on where the records were moved, deleted or replaced meanwhile.

        ServiceQuery after vectors were looked up by the state: they lie beside the records, and
        those of another gallery may lie there by now. Does nothing where that cannot happen.

        Raises:
            GalleryError: They were.
        """
        ...


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
        """Keep records under keys that ascend and were never given before.

        Records of the same source and image name are removed as by `remove`. The fingerprint is
        kept where there is none. The version grows.

        Args:
            images: N, of distinct names.
            checksums: N, of their vectors.
            fingerprint: Which encoder made the vectors.
            at: When they are added.
        """
        ...

    def remove(self, keys: Sequence[int], *, erases: bool) -> int:
        """Delete records and thumbnails, and remember the keys as removed; the version grows.

        Unknown keys are passed over.

        Args:
            keys: Of the images.
            erases: An erasure is pending until `end_erasure`.

        Returns:
            How many there were.
        """
        ...

    def keep_vectors_state(self, state: str) -> None:
        """Keep how the vectors are found from now on."""
        ...

    def forget_removed(self) -> None:
        """Forget the keys of removed images: their vectors have gone."""
        ...

    def end_erasure(self) -> None:
        """Say that no erasure is pending any more."""
        ...

    def calibrate(self, calibrations: Sequence[Calibration]) -> None:
        """Keep these calibrations in place of all that there are."""
        ...

    def note(self, entry: AuditEntry) -> None:
        """Append a line to the audit log."""
        ...


class GalleryRecords(Protocol):
    """Records in transactions: each is whole or not at all, also when process or machine die.

    A thread holds at most one transaction of one gallery at a time.
    """

    @property
    def place(self) -> str:
        """What to call the gallery in messages."""
        ...

    @property
    def residual_traces(self) -> str | None:
        """Where bytes of erased records may still lie, and what clears them; None: nowhere.

        It follows "Traces may stay ". Backups and copies of any kind are left unsaid.
        """
        ...

    def reading(self) -> AbstractContextManager[RecordsReader]:
        """Begin a transaction that sees one state.

        Raises:
            GalleryError: The records are missing or damaged, or cannot be reached.
        """
        ...

    def writing(self, *, waits: bool = True) -> AbstractContextManager[RecordsWriter]:
        """Begin a transaction as the one writer, committed at the end, undone by an exception.

        Args:
            waits: Whether another writer is waited for.

        Raises:
            GalleryError: There is another writer, for too long, or nothing can be written.
        """
        ...

    def reclaim(self, *, is_thorough: bool) -> None:
        """Clear what deleted records left behind; no transaction is open then.

        Args:
            is_thorough: Also give back all room, however long that takes and whom it keeps waiting.

        Raises:
            GalleryError: It cannot be done now.
        """
        ...

    def close(self) -> None:
        """Release files and connections; safe to call twice."""
        ...
