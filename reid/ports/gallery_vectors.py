"""A gallery's vectors by the keys of their images, and search over them.

Nothing here says which images are in the gallery: the records do. Vectors are written before the
records that make them count are committed, and deleted after the records have gone, so that there
may be more vectors than images, never fewer.

All methods but `prepare`, `settle` and `reclaim` are called within a transaction of the records, so
that an adapter in the same database can take part in it.

Letters: N vectors added, Q queries, D width, K answers.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

from torch import Tensor

from reid.domain.values.galleries import GalleryFilter, KeptImage
from reid.domain.values.ranking import Neighbours


class VectorsGoneError(Exception):
    """The vectors of a state were replaced by those of a later one: read the state again."""


class VectorsView(Protocol):
    """Vectors as of one state; what it gives stays right when they are replaced meanwhile."""

    @property
    def is_ready(self) -> bool:
        """Whether it can be searched at once; if not, `GalleryVectors.prepare` comes first."""
        ...

    @property
    def recall(self) -> float:
        """Share of nearest neighbours found, as measured by the index in use; 1 if exact."""
        ...

    def of(self, keys: Sequence[int]) -> Tensor:
        """Look up vectors.

        Returns:
            (len(keys), D) float32 on the CPU, in the order of the keys.

        Raises:
            GalleryError: A key has none.
        """
        ...

    def nearest(self, queries: Tensor, k: int, *, within: GalleryFilter) -> Neighbours:
        """Rank vectors by cosine distance 1 - cos, nearest first, ties by key.

        Vectors of removed images, and of additions that were never committed, may be among them.

        Args:
            queries: (Q, D) float32 on the CPU, rows of unit L2 norm.
            k: How many are wanted, at least 1.
            within: Looked at where `GalleryVectors.filters`.

        Returns:
            Indices are keys, at most k columns; -1 at distance infinity, last, where fewer were
            found.
        """
        ...

    def among(self, queries: Tensor, k: int, *, keys: Sequence[int]) -> Neighbours:
        """Rank some vectors exactly, otherwise as `nearest`.

        Args:
            queries: (Q, D).
            k: How many are wanted.
            keys: Whose vectors, ascending; each has one.
        """
        ...


class GalleryVectors(Protocol):
    """Vectors by key.

    `state` is what `add` and `drop` returned last and the records have kept, empty at first.
    """

    @property
    def is_exact(self) -> bool:
        """False obliges whoever reports a result to call it approximate."""
        ...

    @property
    def filters(self) -> bool:
        """Whether `VectorsView.nearest` leaves out what the filter does not admit."""
        ...

    @property
    def rewrites(self) -> bool:
        """Whether `drop` writes all other vectors anew, so that it waits until it is worth it."""
        ...

    @property
    def residual_traces(self) -> str | None:
        """Where bytes of dropped vectors may still lie; as `GalleryRecords.residual_traces`."""
        ...

    def view(self, state: str) -> VectorsView:
        """See the vectors of a state.

        Raises:
            VectorsGoneError: There is a later state.
            GalleryError: They are damaged or cannot be reached.
        """
        ...

    def add(self, state: str, images: Sequence[KeptImage], vectors: Tensor) -> str:
        """Write vectors, down to the disk, behind those of a state.

        What a writer that was interrupted left under these keys or higher ones goes.

        Args:
            state: Before.
            images: N, with ascending keys above all that were ever kept.
            vectors: (N, D) float32, rows of unit L2 norm.

        Returns:
            The state with them.

        Raises:
            GalleryError: They cannot be written; those of the state before are as they were.
        """
        ...

    def drop(self, state: str, keys: Sequence[int]) -> str:
        """Delete vectors whose records have gone; keys without one are passed over.

        Returns:
            The state without them. Where `rewrites`, vectors of the state before stay readable
            until `tidy`.

        Raises:
            GalleryError: It cannot be done now.
        """
        ...

    def has_leftovers(self, state: str, *, last_key: int) -> bool:
        """Whether `tidy` has anything to do."""
        ...

    def tidy(self, state: str, *, last_key: int) -> None:
        """Delete, as the one writer, what an interrupted or a finished change left behind.

        Args:
            state: The one that counts.
            last_key: No vector of a higher key belongs to it.

        Raises:
            GalleryError: It cannot be done now.
        """
        ...

    def prepare(self, state: str) -> bool:
        """Make ready to be searched, which may take long; no transaction is open.

        Returns:
            Whether `keep_prepared` is worth calling.

        Raises:
            VectorsGoneError: There is a later state.
            GalleryError: The vectors cannot be searched.
        """
        ...

    def keep_prepared(self, state: str) -> None:
        """Keep, as the one writer, what `prepare` made, for later processes; perhaps nothing.

        Args:
            state: The one that counts now; of what was prepared for vectors replaced since, nothing
                is kept.

        Raises:
            GalleryError: It cannot be written.
        """
        ...

    def settle(self) -> None:
        """Do what can wait until a change is committed, such as tending a graph.

        Raises:
            GalleryError: It cannot be done now; a later change tries again.
        """
        ...

    def reclaim(self, *, is_thorough: bool) -> None:
        """Clear what dropped vectors left behind; as `GalleryRecords.reclaim`."""
        ...

    def faults(self, state: str) -> Iterator[str]:
        """Look for damage beside the vectors themselves, such as that of an index.

        Yields:
            A sentence per fault, without the gallery's name.
        """
        ...

    def close(self) -> None:
        """Release files and connections; safe to call twice."""
        ...
