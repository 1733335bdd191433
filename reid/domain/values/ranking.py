"""Answers of a nearest-neighbour search.

Letters: Q queries, K answers.
"""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The gallery images nearest to each query, nearest first."""

    indices: Tensor
    """(Q, K) int64 gallery rows, or keys where a gallery answers; -1 where none was found."""
    distances: Tensor
    """(Q, K) float32 cosine distances 1 - cos, infinite where none was found; ascending along K
    unless the answers were re-ranked."""

    def __post_init__(self) -> None:
        """Refuse answers whose parts disagree."""
        if self.indices.ndim != 2 or self.indices.shape != self.distances.shape:
            raise ValueError(
                f"indices {tuple(self.indices.shape)} and distances "
                f"{tuple(self.distances.shape)} must both be (Q, K)"
            )
