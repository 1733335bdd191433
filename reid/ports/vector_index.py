"""Nearest-neighbour search.

Letters: G gallery, Q queries, D width, K answers.
"""

from typing import Protocol

from torch import Tensor

from reid.domain.values.features import Neighbours


class VectorIndex(Protocol):
    """Nearest-neighbour search over a fixed gallery of unit vectors."""

    @property
    def is_exact(self) -> bool:
        """False where reports must call results approximate."""

    @property
    def recall(self) -> float:
        """Share of gallery rows whose nearest other row is found, measured by `build`; 1 if exact.

        Raises:
            VectorIndexError: Nothing was built yet.
        """

    def build(self, gallery: Tensor) -> None:
        """Replace the content.

        Args:
            gallery: (G, D) float32 on any device, rows of unit L2 norm.

        Raises:
            VectorIndexError: No rows, or a row that is not of unit norm.
        """

    def search(self, queries: Tensor, k: int) -> Neighbours:
        """Rank gallery rows by cosine distance 1 - cos, nearest first, ties by row number.

        Args:
            queries: (Q, D) float32, rows of unit L2 norm.
            k: Number of answers, at least 1.

        Returns:
            min(k, G) distinct rows per query, on the CPU. An approximate index fills rows that it
            did not find with index -1 and distance infinity, last.

        Raises:
            VectorIndexError: Nothing was built yet, k below 1, or queries of another width.
        """


class PersistentIndex(VectorIndex, Protocol):
    """An index that takes so long to build that it is kept on the disk."""

    def save(self, path: str) -> None:
        """Write what `build` made to a file.

        Raises:
            VectorIndexError: Nothing was built yet, or the file cannot be written.
        """

    def load(self, path: str, *, gallery: Tensor) -> None:
        """Read what `save` wrote, mapped into memory where that can be.

        Args:
            path: The file.
            gallery: (G, D) float32, the rows that were indexed; may be mapped from a file and is
                not read as a whole.

        Raises:
            VectorIndexError: The file cannot be read, or does not fit the rows.
        """
