"""Vectors in two dimensions, so that neighbours stay neighbours: exact t-SNE.

Van der Maaten & Hinton 2008, JMLR 9, 2579-2605. Every pair is looked at, so it is for samples: 600
vectors take seconds. Nothing is random: it begins with principal components, as Kobak & Berens 2019
(arXiv:1902.02259, doi:10.1038/s41467-019-13056-x) advise.

Letters: N vectors, D width.
"""

import numpy as np
from numpy.typing import NDArray

MIN_VECTORS = 8
"""Fewer make no map."""

_Floats = NDArray[np.float64]

_EXAGGERATION = 12.0
"""Of affinities in the first third of the steps, as in the authors' later program."""

_BISECTIONS = 64
_SMALLEST = 1e-12


def lay_out(vectors: _Floats, *, perplexity: float = 30.0, num_steps: int = 750) -> _Floats:
    """Lay vectors out in the plane.

    Args:
        vectors: (N, D), at least `MIN_VECTORS`.
        perplexity: About how many neighbours each vector minds; at most a third of the others.
        num_steps: Of gradient descent.

    Returns:
        (N, 2) centred, the same for the same vectors on one machine.

    Raises:
        ValueError: Too few vectors.
    """
    if len(vectors) < MIN_VECTORS:
        raise ValueError(f"need at least {MIN_VECTORS} vectors, got {len(vectors)}")
    minded = min(perplexity, (len(vectors) - 1) / 3)
    affinities = joint_affinities(squared_distances(vectors), perplexity=minded)
    places = 1e-4 * principal_components(vectors)
    update, gains = np.zeros_like(places), np.ones_like(places)
    # Belkina et al. 2019, doi:10.1038/s41467-019-13055-y: N / exaggeration; a quarter of it here,
    # because the gradient below has its factor 4.
    rate = max(len(vectors) / _EXAGGERATION / 4, 50.0)
    for step in range(num_steps):
        is_early = step < num_steps // 3
        _, gradient = divergence(affinities * (_EXAGGERATION if is_early else 1.0), places)
        is_turning = (gradient > 0) != (update > 0)
        gains = np.maximum(np.where(is_turning, gains + 0.2, gains * 0.8), 0.01)
        update = (0.5 if is_early else 0.8) * update - rate * gains * gradient
        places = places + update
    centred: _Floats = places - places.mean(axis=0)
    return centred


def joint_affinities(squared: _Floats, *, perplexity: float) -> _Floats:
    """Turn distances into the probabilities that two vectors are neighbours (eq. 1, section 3.1).

    Args:
        squared: (N, N) squared distances.
        perplexity: Two to the power of each row's entropy; found by bisection.

    Returns:
        (N, N) symmetric, summing to 1, zero on the diagonal.
    """
    low = np.zeros(len(squared))
    high = np.full(len(squared), np.inf)
    precision = 1 / np.maximum(squared.mean(axis=1), _SMALLEST)  # (N,)
    for _ in range(_BISECTIONS):
        rows = conditional_affinities(squared, precision)
        entropy = -(rows * np.log(np.maximum(rows, _SMALLEST))).sum(axis=1)
        is_wide = entropy > np.log(perplexity)
        low, high = np.where(is_wide, precision, low), np.where(is_wide, high, precision)
        precision = np.where(np.isinf(high), 2 * precision, (low + high) / 2)
    rows = conditional_affinities(squared, precision)
    joint: _Floats = (rows + rows.T) / (2 * len(squared))
    return joint


def conditional_affinities(squared: _Floats, precision: _Floats) -> _Floats:
    """Give each row's probabilities of its neighbours by a Gaussian of its precision (eq. 1)."""
    exponents = -squared * precision[:, None]
    np.fill_diagonal(exponents, -np.inf)
    weights = np.exp(exponents - exponents.max(axis=1, keepdims=True))
    shares: _Floats = weights / weights.sum(axis=1, keepdims=True)
    return shares


def divergence(affinities: _Floats, places: _Floats) -> tuple[float, _Floats]:
    """Measure how much a layout belies the affinities, and where that falls.

    Args:
        affinities: (N, N), zero on the diagonal.
        places: (N, 2).

    Returns:
        The Kullback-Leibler divergence from the layout's affinities (eq. 4), and its gradient
        (N, 2) in the places (eq. 5). The gradient is that of affinities which sum to 1.
    """
    weights = 1 / (1 + squared_distances(places))  # (N, N)
    np.fill_diagonal(weights, 0.0)
    laid = np.maximum(weights / weights.sum(), _SMALLEST)
    pull = (affinities - laid) * weights
    gradient: _Floats = 4 * (pull.sum(axis=1)[:, None] * places - pull @ places)
    known = np.maximum(affinities, _SMALLEST)
    return float((affinities * np.log(known / laid)).sum()), gradient


def principal_components(vectors: _Floats) -> _Floats:
    """Give the two directions of largest spread, the first of unit standard deviation.

    Returns:
        (N, 2); each direction's sign is such that its largest value is positive.
    """
    centred = vectors - vectors.mean(axis=0)
    left, spread, _ = np.linalg.svd(centred, full_matrices=False)
    found = left[:, :2] * spread[:2]  # (N, 2)
    largest = np.take_along_axis(found, np.abs(found).argmax(axis=0)[None], axis=0)
    scaled: _Floats = found * np.where(largest < 0, -1, 1) / max(found[:, 0].std(), _SMALLEST)
    return scaled


def squared_distances(vectors: _Floats) -> _Floats:
    """Give the (N, N) squared Euclidean distances."""
    squares = (vectors * vectors).sum(axis=1)
    found = squares[:, None] + squares[None, :] - 2 * (vectors @ vectors.T)
    np.fill_diagonal(found, 0.0)
    clamped: _Floats = np.maximum(found, 0.0)
    return clamped
