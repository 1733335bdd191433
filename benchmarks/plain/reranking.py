"""k-reciprocal re-ranking with full matrices of all images by all images, in float32."""

import numpy as np
from torch import Tensor


def rerank(
    queries: Tensor, gallery: Tensor, *, k1: int, k2: int, original_weight: float
) -> np.ndarray:
    """Re-rank as the method is commonly written: argsort of everything, one image at a time.

    Differs from CLIP-ReID in keeping float32 throughout instead of float16, and in that an image
    always is its own nearest.

    Returns:
        (Q, G) float32.
    """
    images = np.concatenate([queries.numpy(), gallery.numpy()])  # (N, D)
    norms = (images**2).sum(axis=1)
    squared = norms[:, None] + norms[None, :] - 2 * (images @ images.T)  # (N, N)
    np.fill_diagonal(squared, 0)
    original = (squared / squared.max(axis=0)).T  # (N, N)
    np.fill_diagonal(original, -1)
    ranking = np.argsort(original, axis=1)
    np.fill_diagonal(original, 0)
    encoding = np.zeros_like(original)
    for row in range(len(images)):
        members = _reciprocal(ranking, row, k1)
        expanded = members
        for candidate in members:
            brought = _reciprocal(ranking, candidate, round(k1 / 2))
            if 3 * len(np.intersect1d(brought, members)) > 2 * len(brought):
                expanded = np.append(expanded, brought)
        expanded = np.unique(expanded)
        weights = np.exp(-original[row, expanded])
        encoding[row, expanded] = weights / weights.sum()
    if k2 > 1:
        encoding = np.stack([encoding[nearest].mean(axis=0) for nearest in ranking[:, :k2]])
    jaccard = _jaccard(encoding, len(queries))
    count = len(queries)
    found: np.ndarray = (1 - original_weight) * jaccard
    found += original_weight * original[:count, count:]
    return found


def _reciprocal(ranking: np.ndarray, row: int, k: int) -> np.ndarray:
    nearest = ranking[row, : k + 1]
    found: np.ndarray = nearest[(ranking[nearest, : k + 1] == row).any(axis=1)]
    return found


def _jaccard(encoding: np.ndarray, num_queries: int) -> np.ndarray:
    """Compare the encodings of queries and gallery: (Q, G) float32."""
    having = [np.flatnonzero(column) for column in encoding.T]
    found = np.empty((num_queries, len(encoding) - num_queries), dtype=np.float32)
    for query in range(num_queries):
        minima = np.zeros(len(encoding), dtype=np.float32)
        for member in np.flatnonzero(encoding[query]):
            others = having[member]
            minima[others] += np.minimum(encoding[query, member], encoding[others, member])
        found[query] = (1 - minima / (2 - minima))[num_queries:]
    return found
