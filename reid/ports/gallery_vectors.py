"""A gallery's vectors by the keys of their images, and search over them.

The records decide which images are in the gallery. Vectors are written before the records that make
them count are committed, and deleted after the records, so that there may be more vectors than
images, never fewer.

All methods but `prepare`, `settle` and `reclaim` are called within a transaction of the records, so
that an adapter in the same database can take part in it.

Letters: N vectors added, Q queries, D width, K answers.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

from torch import Tensor

from reid.domain.values.features import Neighbours
from reid.domain.values.galleries import GalleryFilter, KeptImage


class VectorsGoneError(Exception):
    """The vectors of a state were replaced by those of a later state: read the state again."""


class VectorsView(Protocol):
    """Vectors of one state; results stay right when they are replaced meanwhile."""

    @property
    def is_ready(self) -> bool:
        """Whether it can be searched at once; if not, `GalleryVectors.prepare` comes first."""

    @property
    def recall(self) -> float:
        """Share of nearest neighbours found, as measured by the index in use; 1 if exact."""

    def of(self, keys: Sequence[int]) -> Tensor:
        """Look up vectors.

        Returns:
            (len(keys), D) float32 on the CPU, in the order of the keys.

        Raises:
            GalleryError: A key has none.
        """

    def nearest(self, queries: Tensor, k: int, *, within: GalleryFilter) -> Neighbours:
        """Rank vectors by cosine distance 1 - cos, nearest first, ties by key.

        Vectors of removed images, and of additions that were never committed, may be among them.

        Args:
            queries: (Q, D) float32 on the CPU, rows of unit L2 norm.
            k: Number of answers, at least 1.
            within: Applied where `GalleryVectors.filters`.

        Returns:
            Indices are keys, at most k columns; -1 at distance infinity, last, where fewer were
            found.
        """

    def among(self, queries: Tensor, k: int, *, keys: Sequence[int]) -> Neighbours:
        """Rank the vectors of some keys, ascending, exactly; otherwise as `nearest`."""


class GalleryVectors(Protocol):
    """Vectors by key.

    `state` is what `add` and `drop` returned last and the records have kept, empty at first.
    """

    @property
    def is_exact(self) -> bool:
        """False where reports must call results approximate."""

    @property
    def filters(self) -> bool:
        """Whether `VectorsView.nearest` leaves out what the filter does not admit."""

    @property
    def rewrites(self) -> bool:
        """Whether `drop` rewrites all other vectors, so that it is postponed until it pays."""

    @property
    def residual_traces(self) -> str | None:
        """Where bytes of dropped vectors may remain; as `GalleryRecords.residual_traces`."""

    def view(self, state: str) -> VectorsView:
        """Open the vectors of a state.

        Raises:
            VectorsGoneError: There is a later state.
            GalleryError: They are damaged or cannot be reached.
        """

    def add(self, state: str, images: Sequence[KeptImage], vectors: Tensor) -> str:
        """Append vectors durably to those of a state.

        What an interrupted writer left under these keys or higher ones is deleted.

        Args:
            state: The current one.
            images: N, with ascending keys above all that were ever kept.
            vectors: (N, D) float32, rows of unit L2 norm.

        Returns:
            The new state.

        Raises:
            GalleryError: They cannot be written; those of the current state are unchanged.
        """

    def drop(self, state: str, keys: Sequence[int]) -> str:
        """Delete vectors whose records are deleted; keys without one are ignored.

        Returns:
            The new state. Where `rewrites`, vectors of the old state stay readable until `tidy`.

        Raises:
            GalleryError: It cannot be done now.
        """

    def has_leftovers(self, state: str, *, last_key: int) -> bool:
        """Whether `tidy` has anything to do."""

    def tidy(self, state: str, *, last_key: int) -> None:
        """Delete, as the one writer, what an interrupted or a finished change left behind.

        Args:
            state: The current one.
            last_key: No vector of a higher key belongs to it.

        Raises:
            GalleryError: It cannot be done now.
        """

    def prepare(self, state: str) -> bool:
        """Make the vectors searchable, which may take long; called without an open transaction.

        Returns:
            Whether `keep_prepared` is worth calling.

        Raises:
            VectorsGoneError: There is a later state.
            GalleryError: The vectors cannot be searched.
        """

    def keep_prepared(self, state: str) -> None:
        """Save, as the one writer, what `prepare` made, unless the vectors were replaced since.

        Args:
            state: The current one.

        Raises:
            GalleryError: It cannot be written.
        """

    def settle(self) -> None:
        """Do what can wait until a change is committed, such as maintaining a graph.

        Raises:
            GalleryError: It cannot be done now; a later change tries again.
        """

    def reclaim(self, state: str, *, is_thorough: bool) -> None:
        """Clear the traces of vectors dropped from a state; as `GalleryRecords.reclaim`."""

    def faults(self, state: str) -> Iterator[str]:
        """Look for damage beyond the vectors themselves, such as in an index.

        Yields:
            A sentence per fault, without the gallery's name.
        """

    def close(self) -> None:
        """Release files and connections; safe to call twice."""
