"""Exact nearest-neighbour search by one matrix product per block of queries.

Letters: G gallery, Q queries, D width, K answers.
"""

import torch
from torch import Tensor

from reid.adapters.indexes.vector_checks import check_gallery, check_search, not_built
from reid.domain.metrics import distances, rank
from reid.domain.values.ranking import Neighbours

_ENTRIES_PER_BLOCK = 2**23
"""Distances held at once (32 MiB)."""

_MINIMUM_ROWS_PER_BLOCK = 32
"""Fewer queries at once would read the whole gallery too often."""


class ExactIndex:
    """Compare every query with every gallery row, on the gallery's device."""

    def __init__(self) -> None:
        """Start empty."""
        self._gallery: Tensor | None = None

    @property
    def is_exact(self) -> bool:
        """True."""
        return True

    @property
    def recall(self) -> float:
        """1.

        Raises:
            VectorIndexError: Nothing was built yet.
        """
        if self._gallery is None:
            raise not_built()
        return 1.0

    def build(self, gallery: Tensor) -> None:
        """Replace the content; see the port. The gallery is kept, not copied."""
        check_gallery(gallery)
        self._gallery = gallery.detach()

    def search(self, queries: Tensor, k: int) -> Neighbours:
        """Rank gallery rows; see the port.

        Distances that round to the same float32 are tied and go by row number, across the last
        answer's boundary, too.
        """
        gallery = self._gallery
        if gallery is None:
            raise not_built()
        check_search(queries, k=k, width=gallery.shape[1])
        num_answers = min(k, len(gallery))
        indices = torch.empty((len(queries), num_answers), dtype=torch.int64)  # (Q, K)
        found = torch.empty((len(queries), num_answers))  # (Q, K)
        step = max(_MINIMUM_ROWS_PER_BLOCK, _ENTRIES_PER_BLOCK // len(gallery))
        for start in range(0, len(queries), step):
            block = distances(queries[start : start + step].to(gallery), gallery).cpu()  # (B, G)
            rows = rank(block, k=k)  # (B, K)
            indices[start : start + step] = rows
            found[start : start + step] = block.gather(1, rows)
        return Neighbours(indices=indices, distances=found)
