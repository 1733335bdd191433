"""Cosine distances, and the ranking of a gallery by them.

Letters: Q queries, G gallery, C candidates, K answers per query, D width, B queries at once.
"""

import numpy as np
import torch
from torch import Tensor

from reid.domain.values.features import Neighbours

_ENTRIES_PER_BLOCK = 2**21  # distances ordered at once; their sort keys, 16 MiB, stay in cache
_COMPARED_ENTRIES = 2**23  # distances held at once while the nearest are searched (32 MiB)
_RESCORED_NUMBERS = 2**22  # entries of candidates' vectors held at once (16 MiB)
_MINIMUM_COMPARED_ROWS = 32  # fewer queries at once would read the whole gallery too often
_SAME_DISTANCE = 1e-6  # two roundings of one distance may differ by this; such rows are equivalent
_SELECTED_SHARE = 16  # answers beyond this part of the gallery: sorting all of it is faster


def distances(queries: Tensor, gallery: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Cosine distances 1 - cos between all queries and all gallery rows.

    Rounding can put the cosine of equal rows above 1; such distances are clamped to 0, so that rows
    closer than float32 can tell are tied rather than ordered by noise. Differs from CLIP-ReID: half
    its squared Euclidean distance, which ranks alike.

    Args:
        queries: (Q, D) float32, rows of unit L2 norm.
        gallery: (G, D) float32 on the same device, rows of unit L2 norm.
        out: (Q, G) to write into; new memory if None.

    Returns:
        (Q, G) float32 in 0..2.
    """
    cosines = torch.mm(queries, gallery.T, out=out)  # (Q, G)
    return torch.sub(cosines.new_ones(()), cosines, out=cosines).clamp_(min=0, max=2)


def find_nearest(queries: Tensor, gallery: Tensor, *, k: int) -> Neighbours:
    """Find the k nearest gallery rows of every query exactly, in bounded memory.

    Distances that round to the same float32 are tied and go by row number. Queries (Q, D) and
    gallery (G, D), searched on its device, have float32 rows of unit L2 norm; k is at least 1.

    Returns:
        min(k, G) rows and distances per query, on the CPU.
    """
    num_answers = min(k, len(gallery))
    indices = torch.empty((len(queries), num_answers), dtype=torch.int64)  # (Q, K)
    found = torch.empty((len(queries), num_answers))  # (Q, K)
    step = max(_MINIMUM_COMPARED_ROWS, _COMPARED_ENTRIES // max(1, len(gallery)))
    for start in range(0, len(queries), step):
        block = distances(queries[start : start + step].to(gallery), gallery).cpu()  # (B, G)
        rows = rank(block, k=k)  # (B, K)
        indices[start : start + step] = rows
        found[start : start + step] = block.gather(1, rows)
    return Neighbours(indices=indices, distances=found)


def rescore(candidates: Tensor, *, queries: Tensor, gallery: Tensor, k: int) -> Neighbours:
    """Rank candidates by their cosine distance 1 - cos, nearest first, ties by row number.

    Each cosine is summed separately, so that equal rows have equal distances, which a matrix
    product does not guarantee. Distances are clamped to 0..2, as in `distances`.

    Candidates are (Q, C) int64 distinct rows per query, -1 where too few were found. Queries (Q, D)
    and gallery (G, D) are float32 on the CPU, rows of unit L2 norm; k is at most C.

    Returns:
        (Q, K); -1 at distance infinity last.
    """
    indices = torch.empty((len(queries), k), dtype=torch.int64)  # (Q, K)
    found = torch.empty((len(queries), k))  # (Q, K)
    step = max(1, _RESCORED_NUMBERS // (candidates.shape[1] * gallery.shape[1]))
    for start in range(0, len(queries), step):
        rows = candidates[start : start + step]  # (B, C)
        known = gallery[rows.clamp(min=0)]  # (B, C, D)
        cosines = known.mul_(queries[start : start + step, None]).sum(dim=2)  # (B, C)
        away = (1 - cosines).clamp_(min=0, max=2).masked_fill_(rows < 0, torch.inf)
        order = torch.from_numpy(np.lexsort((rows.numpy(), away.numpy()))[:, :k].copy())
        indices[start : start + step] = rows.gather(1, order)
        found[start : start + step] = away.gather(1, order)
    return Neighbours(indices=indices, distances=found)


def is_as_near(found: Tensor, nearest: Tensor) -> Tensor:
    """Whether answers, infinitely far where there is none, are as near as the true ones.

    Ties count. The mean of these bools, of the common shape, is an index's recall.
    """
    return found <= nearest + _SAME_DISTANCE


def rank(distances: Tensor, *, k: int | None = None) -> Tensor:
    """Order the gallery rows of every query by (Q, G) float32 distances, ties by row number.

    Returns:
        (Q, min(k, G)) int64 gallery rows, nearest first, on the CPU; all rows if k is None.

    Raises:
        ValueError: Not (Q, G) float32, some distance is NaN, or k below 1.
    """
    if distances.ndim != 2 or distances.dtype != torch.float32:
        raise ValueError(f"need (Q, G) float32, got {tuple(distances.shape)} {distances.dtype}")
    if distances.isnan().any():
        raise ValueError("a distance is NaN: some embedding is not finite")
    num_queries, num_gallery = distances.shape
    num_answers = num_gallery if k is None else min(k, num_gallery)
    if k is not None and k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    order = _select if num_answers * _SELECTED_SHARE <= num_gallery else _sort
    ranking = torch.empty((num_queries, num_answers), dtype=torch.int64)  # (Q, K)
    rows_per_block = max(1, _ENTRIES_PER_BLOCK // max(1, num_gallery))
    for start in range(0, num_queries, rows_per_block):
        stop = start + rows_per_block
        ranking[start:stop] = order(distances[start:stop].detach().cpu(), num_answers)
    return ranking


def order_keys(distances: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Pack distance and row into one integer, which orders by distance, then by row.

    The bits of an IEEE float order like an integer once those of negative numbers are flipped.
    Distances are float32 without NaN, rows 0..2**31 - 1, keys int64 of the common shape.
    """
    bits = (distances + np.float32(0)).view(np.int32)  # + 0: -0 and 0 are one distance
    bits ^= (bits >> 31) & 0x7FFFFFFF
    keys: np.ndarray = (bits.astype(np.int64) << 32) | rows
    return keys


def split_keys(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unpack the float32 distances and int64 rows of `order_keys`."""
    bits = (keys >> 32).astype(np.int32)
    bits ^= (bits >> 31) & 0x7FFFFFFF
    return bits.view(np.float32), keys & 0xFFFFFFFF


def _sort(distances: Tensor, k: int) -> Tensor:
    """Order whole rows; numpy sorts several times as fast as torch on one CPU core."""
    keys = order_keys(distances.numpy(), np.arange(distances.shape[1]))  # (Q, G)
    keys.sort(axis=1)
    return torch.from_numpy(split_keys(keys[:, :k])[1])


def _select(distances: Tensor, k: int) -> Tensor:
    # Top-k promises nothing on ties, so all rows as near as its farthest are candidates.
    boundary = distances.topk(k, dim=1, largest=False).values.amax(dim=1, keepdim=True)  # (Q, 1)
    queries, rows = (distances <= boundary).nonzero(as_tuple=True)  # rows ascend per query
    order = np.lexsort((distances[queries, rows].numpy(), queries.numpy()))  # stable
    starts = torch.searchsorted(queries, torch.arange(len(distances)))  # (Q,)
    return rows[torch.from_numpy(order)][starts[:, None] + torch.arange(k)]  # (Q, k)
