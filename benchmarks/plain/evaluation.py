"""CMC and mAP from a full distance matrix, ordered for every query."""

from typing import Literal

import numpy as np

from reid.domain.values.features import EmbeddingSet

MAX_RANK = 50


def evaluate(queries: EmbeddingSet, gallery: EmbeddingSet) -> tuple[np.ndarray, np.ndarray]:
    """Score as the paper's code does, where every query has a true match.

    Returns:
        (MAX_RANK,) CMC and (Q,) average precisions.
    """
    return score(squared_distances(queries, gallery), queries=queries, gallery=gallery)


def squared_distances(
    queries: EmbeddingSet, gallery: EmbeddingSet, *, dtype: type[np.floating] = np.float32
) -> np.ndarray:
    """Compute all squared Euclidean distances: (Q, G)."""
    left = queries.vectors.numpy().astype(dtype, copy=False)  # (Q, D)
    right = gallery.vectors.numpy().astype(dtype, copy=False)  # (G, D)
    norms = (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1)[None, :]  # (Q, G)
    found: np.ndarray = norms - 2 * (left @ right.T)
    return found


def score(
    squared: np.ndarray,
    *,
    queries: EmbeddingSet,
    gallery: EmbeddingSet,
    kind: Literal["quicksort", "stable"] = "quicksort",
) -> tuple[np.ndarray, np.ndarray]:
    """Score (Q, G) distances, of which kind "stable" leaves ties to the gallery row."""
    ranking = np.argsort(squared, axis=1, kind=kind)  # (Q, G)
    pids, camids = gallery.pids.numpy(), gallery.camids.numpy()
    curve, precisions = np.zeros(MAX_RANK), np.empty(len(ranking))
    for query, order in enumerate(ranking):
        is_match = pids[order] == int(queries.pids[query])
        is_kept = ~(is_match & (camids[order] == int(queries.camids[query])))
        hits = is_match[is_kept].astype(np.int64)
        found = hits.cumsum()
        curve += np.minimum(found, 1)[:MAX_RANK]
        places = np.arange(1, len(hits) + 1)
        precisions[query] = (found / places * hits).sum() / hits.sum()
    return curve / max(1, len(ranking)), precisions
