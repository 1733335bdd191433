"""k-reciprocal re-ranking (Zhong et al. 2017, arXiv:1701.08398) in bounded memory.

Two images are near if their neighbourhoods are: each image is encoded by the images that are
mutually among its nearest (eq. 3-7 of the paper), and encodings are compared by the Jaccard
distance (eq. 8-10). Only the nearest k1 + 1 rows and the largest distance of each image are needed,
so no matrix of all images by all images is kept: encodings are sparse, and the Jaccard distance
runs over an inverted list.

scipy is imported where encodings are computed: the import takes most of a second, which commands
that do not re-rank should not pay.

Letters: Q queries, G gallery, N = Q + G images, D width, K nearest images of each, T tile.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from reid.domain.ranking.distances import distances, order_keys, split_keys
from reid.domain.values.recipes import RerankingRecipe

if TYPE_CHECKING:
    from scipy import sparse

_ENTRIES_PER_BLOCK = 2**22  # entries of a dense block held at once (16 MiB of float32)
_TILE = 2**11  # images compared with as many others at once
_GROUPS_PER_NEIGHBOUR = 8
"""Of a tile's columns, to bound the distance of a row's K-th neighbour: more groups bound it more
closely, but take longer to select from."""


@dataclass(frozen=True, slots=True)
class _Neighbourhood:
    """The part of the distances among all images that is kept."""

    nearest: np.ndarray  # (N, K) int64, nearest first, the image itself at the front
    distances: np.ndarray  # (N, K) float32, of the nearest
    largest: np.ndarray  # (N,) float32 largest distance of each row, positive

    def among_nearest(self, k: int) -> "sparse.csr_array":
        """(N, N) indicator of each row's k nearest images."""
        from scipy import sparse

        num_images = len(self.nearest)
        columns = self.nearest[:, :k]
        starts = np.arange(num_images + 1) * columns.shape[1]
        ones = np.ones(columns.size, dtype=np.float32)
        shape = (num_images, num_images)
        return sparse.csr_array((ones, columns.ravel(), starts), shape=shape)

    def pairs(self, rows: slice) -> tuple[np.ndarray, np.ndarray]:
        """Number pairs of `rows` and their nearest, row * N + column, with distances: (P,) each."""
        order = self.nearest[rows].argsort(axis=1)
        numbers = np.arange(len(self.nearest))[rows, None] * len(self.nearest) + self.nearest[rows]
        near = np.take_along_axis(self.distances[rows], order, axis=1)
        return np.take_along_axis(numbers, order, axis=1).ravel(), near.ravel()


def reranked_distances(
    queries: Tensor, gallery: Tensor, *, recipe: RerankingRecipe
) -> Iterator[Tensor]:
    """Compute re-ranked distances in blocks of queries.

    Neighbourhoods larger than the N images at hand are cut to N. Differs from CLIP-ReID: float32
    and float64 throughout, because its float16 is off by up to 4e-3, and an image always counts as
    its own nearest, because its copies would otherwise crowd it out.

    Args:
        queries: (Q, D) float32, rows of unit L2 norm.
        gallery: (G, D) float32 on the same device, rows of unit L2 norm, G at least 1.
        recipe: k1, k2 and the share of the original distance.

    Yields:
        (B, G) float32 on the CPU, in 0..1: (1 - lambda) Jaccard distance + lambda original distance
        divided by the query's largest (eq. 12); blocks are in the order of the queries.
    """
    images = torch.cat([queries, gallery])  # (N, D)
    neighbourhood = _find_neighbourhood(images, recipe.k1 + 1)
    encoding = _encode(images, neighbourhood=neighbourhood, k1=recipe.k1)
    near = neighbourhood.among_nearest(recipe.k2)
    # Each encoding becomes the mean over the image's k2 nearest (eq. 11).
    encoding = (near @ encoding / np.float32(min(recipe.k2, len(images)))).tocsr()
    num_queries = len(queries)
    inverted = encoding[num_queries:].tocsc()
    for start, stop in _blocks(num_queries, len(gallery)):
        jaccard = _jaccard_distances(encoding[start:stop], inverted)  # (B, G)
        original = distances(queries[start:stop], gallery).cpu()  # (B, G)
        original /= torch.from_numpy(neighbourhood.largest[start:stop, None])
        yield original.mul_(recipe.original_weight).add_(jaccard, alpha=1 - recipe.original_weight)


def _blocks(num_rows: int, row_length: int) -> Iterator[tuple[int, int]]:
    step = max(1, _ENTRIES_PER_BLOCK // row_length)
    for start in range(0, num_rows, step):
        yield start, min(start + step, num_rows)


def _find_neighbourhood(images: Tensor, k: int) -> _Neighbourhood:
    """Find the k nearest images of every image and its largest distance."""
    # Cosine distances serve: for unit rows the squared Euclidean ones are twice as large, and every
    # distance is divided by the largest of its row. Distances are symmetric, so that two tiles of
    # images are compared once for the rows of both: half of the full product.
    found = _Nearest(len(images), k=min(k, len(images)))
    tiles = [(first, images[first : first + _TILE]) for first in range(0, len(images), _TILE)]
    for number, (first, rows) in enumerate(tiles):
        for start, columns in tiles[:number]:
            block = distances(rows, columns).cpu()  # (T, T)
            found.take(block, first=first, start=start)
            found.take(block.T.contiguous(), first=start, start=first)
        found.take(distances(rows, rows).cpu().fill_diagonal_(-1), first=first, start=first)
    near, nearest = split_keys(found.keys)
    tiny = np.finfo(np.float32).tiny  # all images alike: no division by zero
    return _Neighbourhood(nearest, near.clip(min=0), found.largest.clip(min=tiny))


class _Nearest:
    """The nearest of the images seen so far, for each image."""

    def __init__(self, num_images: int, *, k: int) -> None:
        nothing = order_keys(np.array([np.inf], dtype=np.float32), np.array([2**31 - 1]))
        self.keys = np.broadcast_to(nothing, (num_images, k)).copy()  # (N, K), ascending
        self.largest = np.zeros(num_images, dtype=np.float32)  # (N,) distance of the farthest

    def take(self, block: Tensor, *, first: int, start: int) -> None:
        """Merge the (B, W) distances of images from `first` on to those from `start` on."""
        seen = slice(first, first + len(block))
        old = self.keys[seen]
        bound = np.minimum(_bound_nearest(block, old.shape[1]), split_keys(old[:, -1])[0])
        found = block.numpy()
        np.maximum(self.largest[seen], block.amax(dim=1).numpy(), out=self.largest[seen])
        near = np.flatnonzero(found <= bound[:, None])
        rows, columns = np.divmod(near, found.shape[1])
        counts = np.bincount(rows, minlength=len(found))
        wide = np.full((len(found), old.shape[1] + counts.max()), np.iinfo(np.int64).max)
        wide[:, : old.shape[1]] = old
        places = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        wide[rows, old.shape[1] + places] = order_keys(found.ravel()[near], columns + start)
        wide.sort(axis=1)
        self.keys[seen] = wide[:, : old.shape[1]]


def _bound_nearest(block: Tensor, k: int) -> np.ndarray:
    """Bound the k-th smallest of each row from above by the k-th smallest of groups' minima: (B,).

    Few entries are below that bound, and it costs one pass over the block.
    """
    size = max(1, block.shape[1] // (_GROUPS_PER_NEIGHBOUR * k))
    num_groups = block.shape[1] // size
    if num_groups < k:
        return np.full(len(block), np.inf, dtype=np.float32)
    groups = block[:, : size * num_groups].view(-1, size, num_groups)
    bound: np.ndarray = np.partition(groups.amin(dim=1).numpy(), k - 1, axis=1)[:, k - 1]
    return bound


def _encode(images: Tensor, *, neighbourhood: _Neighbourhood, k1: int) -> "sparse.csr_array":
    """Weigh each image's expanded k-reciprocal neighbours by their nearness: (N, N), eq. 3-7.

    Candidate c of image i adds its own neighbours R(c, k1 / 2) if more than two thirds of them are
    already among those of i (eq. 4).
    """
    from scipy import sparse

    reciprocal = _reciprocal(neighbourhood.among_nearest(k1 + 1))
    # Python's round is the reference's: halves go to the even number.
    half = _reciprocal(neighbourhood.among_nearest(round(k1 / 2) + 1))
    half_sizes = half.sum(axis=1)
    parts = []
    for start, stop in _blocks(len(images), 64 * (k1 + 1)):
        members = reciprocal[start:stop]
        overlap = (members @ half.T).multiply(members).tocoo()
        is_joined = 3 * overlap.data > 2 * half_sizes[overlap.col]
        places = (overlap.row[is_joined], overlap.col[is_joined])
        joined = sparse.csr_array((overlap.data[is_joined], places), shape=members.shape)
        parts.append(_weigh(members + joined @ half, images, neighbourhood, start))
    return sparse.vstack(parts, format="csr")


def _reciprocal(forward: "sparse.csr_array") -> "sparse.csr_array":
    """Keep the neighbours that have the image as a neighbour too (eq. 3)."""
    return forward.multiply(forward.T).tocsr()


def _weigh(
    members: "sparse.csr_array", images: Tensor, neighbourhood: _Neighbourhood, first: int
) -> "sparse.csr_array":
    """Replace (B, N) entries, of images from `first` on, by exp(-distance) of sum 1 (eq. 7)."""
    from scipy import sparse

    rows = np.repeat(np.arange(members.shape[0]), np.diff(members.indptr))
    normalised = _member_distances(images, neighbourhood, first + rows, members.indices)
    normalised /= neighbourhood.largest[first + rows]
    weights = np.exp(-normalised)
    weights /= np.bincount(rows, weights=weights)[rows]
    parts = (weights.astype(np.float32), members.indices, members.indptr)
    return sparse.csr_array(parts, shape=members.shape)


def _member_distances(
    images: Tensor, neighbourhood: _Neighbourhood, left: np.ndarray, right: np.ndarray
) -> np.ndarray:
    """Look up the distances of (P,) pairs, ascending, whose sides are near; compute the others."""
    known, known_distances = neighbourhood.pairs(slice(left[0], left[-1] + 1))
    pairs = left * len(images) + right
    places = np.searchsorted(known, pairs).clip(max=len(known) - 1)
    found: np.ndarray = known_distances[places]
    far = np.flatnonzero(known[places] != pairs)
    found[far] = _pair_distances(images, left[far], right[far])
    return found


def _pair_distances(images: Tensor, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Cosine distances of listed pairs of images: (len(left),) float32."""
    found = np.empty(len(left), dtype=np.float32)
    for start, stop in _blocks(len(left), images.shape[1]):
        rows, others = (torch.from_numpy(side[start:stop]).long() for side in (left, right))
        cosines = torch.einsum("pd,pd->p", images[rows], images[others])
        found[start:stop] = (1 - cosines).clamp(min=0).cpu().numpy()
    return found


def _jaccard_distances(encoding: "sparse.csr_array", inverted: "sparse.csc_array") -> Tensor:
    """Compare B encodings with all of the gallery (eq. 10): (B, G) float32."""
    # Every encoding sums to 1, so the sum of maxima is 2 minus the sum of minima; and only images
    # that are in both encodings add to the latter.
    found = torch.empty((encoding.shape[0], inverted.shape[0]))
    for row, (start, stop) in enumerate(pairwise(encoding.indptr)):
        columns = inverted[:, encoding.indices[start:stop]]
        own = np.repeat(encoding.data[start:stop], np.diff(columns.indptr))
        minima = np.bincount(
            columns.indices, weights=np.minimum(columns.data, own), minlength=inverted.shape[0]
        )
        found[row] = torch.from_numpy(1 - minima / (2 - minima))
    return found
