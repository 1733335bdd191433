"""Answers of a nearest-neighbour search.

Letters: Q queries, K answers.
"""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The gallery rows nearest to each query, nearest first."""

    indices: Tensor
    """(Q, K) int64 rows of the gallery."""

    distances: Tensor
    """(Q, K) float32 cosine distances 1 - cos, ascending along K."""

    def __post_init__(self) -> None:
        """Refuse answers whose parts disagree."""
        if self.indices.ndim != 2 or self.indices.shape != self.distances.shape:
            raise ValueError(
                f"indices {tuple(self.indices.shape)} and distances "
                f"{tuple(self.distances.shape)} must both be (Q, K)"
            )
