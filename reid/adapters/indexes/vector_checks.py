"""Checks of an index's vectors."""

import torch
from torch import Tensor

from reid.domain.errors import VectorIndexError

NORM_TOLERANCE = 1e-3
"""Largest deviation of a norm from 1; rounding to float16 stays within."""


def check_gallery(gallery: Tensor) -> None:
    """Refuse galleries that cannot be indexed.

    Raises:
        VectorIndexError: Not (G, D), no rows, or a row that is not of unit norm.
    """
    if gallery.ndim != 2:
        raise VectorIndexError(f"a gallery must be (G, D), got {tuple(gallery.shape)}")
    if len(gallery) == 0:
        raise VectorIndexError("the gallery is empty: give it at least one image")
    _check_unit_norm(gallery, name="gallery")


def check_search(queries: Tensor, *, k: int, width: int) -> None:
    """Refuse searches for k answers that a gallery of a width cannot give.

    Raises:
        VectorIndexError: k below 1, queries of another width, or one that is not of unit norm.
    """
    if k < 1:
        raise VectorIndexError(f"k must be at least 1, got {k}")
    if queries.ndim != 2 or queries.shape[1] != width:
        raise VectorIndexError(
            f"queries {tuple(queries.shape)} do not fit the indexed gallery of width {width}: "
            "embed both by the same encoder"
        )
    _check_unit_norm(queries, name="query")


def not_built() -> VectorIndexError:
    """Return the error about an index that is used before it was built."""
    return VectorIndexError("nothing was indexed yet: build the index before using it")


def _check_unit_norm(vectors: Tensor, *, name: str) -> None:
    norms = torch.linalg.vector_norm(vectors, dim=1)  # (N,)
    is_wrong = ~((norms - 1).abs() <= NORM_TOLERANCE)  # true for NaN, too
    if is_wrong.any():
        row = int(is_wrong.nonzero()[0, 0])
        raise VectorIndexError(
            f"{name} row {row} has L2 norm {float(norms[row]):.4g} instead of 1 "
            f"({int(is_wrong.sum())} such rows of {len(norms)}): normalise embeddings first"
        )
