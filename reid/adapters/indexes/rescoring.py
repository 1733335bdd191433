"""Exact distances of rows that an approximate search found.

Letters: Q queries, G gallery, D width, C candidates, K answers.
"""

import numpy as np
import torch
from torch import Tensor

from reid.domain.values.ranking import Neighbours

_NUMBERS_PER_BLOCK = 2**22
"""Entries of candidates' vectors held at once (16 MiB)."""


def rescore(candidates: Tensor, *, queries: Tensor, gallery: Tensor, k: int) -> Neighbours:
    """Rank candidates by their cosine distance 1 - cos, nearest first, ties by row number.

    Each cosine is summed separately, so that equal rows have equal distances, which a matrix
    product does not guarantee. Distances are clamped to 0..2, as in `distances`.

    Args:
        candidates: (Q, C) int64 distinct rows per query; -1 where too few were found.
        queries: (Q, D) float32 on the CPU, rows of unit L2 norm.
        gallery: (G, D) float32 on the CPU, rows of unit L2 norm.
        k: Answers per query, at most C.

    Returns:
        (Q, K); -1 at distance infinity last.
    """
    indices = torch.empty((len(queries), k), dtype=torch.int64)  # (Q, K)
    found = torch.empty((len(queries), k))  # (Q, K)
    step = max(1, _NUMBERS_PER_BLOCK // (candidates.shape[1] * gallery.shape[1]))
    for start in range(0, len(queries), step):
        rows = candidates[start : start + step]  # (B, C)
        known = gallery[rows.clamp(min=0)]  # (B, C, D)
        cosines = known.mul_(queries[start : start + step, None]).sum(dim=2)  # (B, C)
        away = (1 - cosines).clamp_(min=0, max=2).masked_fill_(rows < 0, torch.inf)
        order = torch.from_numpy(np.lexsort((rows.numpy(), away.numpy()))[:, :k].copy())
        indices[start : start + step] = rows.gather(1, order)
        found[start : start + step] = away.gather(1, order)
    return Neighbours(indices=indices, distances=found)
