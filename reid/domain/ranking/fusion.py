"""From images to people: fuse the vectors or the similarities of one person's images.

Letters: N images, P people, K nearest images of a query, D width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

_SMALLEST_NORM = 1e-6  # shorter means have no direction: the vectors cancel each other out


@dataclass(frozen=True, slots=True)
class RankedIdentities:
    """People in the order in which they answer a query, each once."""

    people: Tensor  # (P,) int64
    similarities: Tensor  # (P,) float32 cosines, fused


def mean_directions(vectors: Tensor, groups: Tensor, *, num_groups: int) -> Tensor:
    """Fuse the vectors of each group into their normalised mean.

    For queries this is the average pooling of multiple queries (Zheng et al. 2015, Scalable person
    re-identification: a benchmark, doi:10.1109/ICCV.2015.133). Sums are computed in float64.

    Vectors are (N, D) float32, rows of unit L2 norm; groups (N,) int64 in 0..P-1, each occurring.

    Returns:
        (P, D) float32, rows of unit L2 norm; the first vector of a group whose vectors cancel out.

    Raises:
        ValueError: A group has no vector.
    """
    counts = torch.bincount(groups, minlength=num_groups)  # (P,)
    if len(counts) != num_groups or not bool((counts > 0).all()):
        raise ValueError(f"{num_groups} groups, but vectors of {int((counts > 0).sum())}")
    sums = torch.zeros(num_groups, vectors.shape[1], dtype=torch.float64)
    sums.index_add_(0, groups, vectors.double())
    means = sums / counts[:, None]
    first = _first_of_each(groups, num_groups=num_groups)  # (P,)
    points_nowhere = torch.linalg.vector_norm(means, dim=1) < _SMALLEST_NORM  # (P,)
    means[points_nowhere] = vectors[first[points_nowhere]].double()
    return F.normalize(means, dim=1).float()


def rank_by_best(similarities: Tensor, people: Tensor) -> RankedIdentities:
    """Rank people, (K,) int64, by their most similar of K images, ties in the order given."""
    order = similarities.argsort(descending=True, stable=True)
    first = _first_places(people[order])
    return RankedIdentities(people=people[order][first], similarities=similarities[order][first])


def rank_by_mean(query: Tensor, people: Tensor, directions: Tensor) -> RankedIdentities:
    """Rank people, (P,) int64 each once, by the cosine to the mean direction of their images.

    The query is (D,), directions (P, D) float32 of unit L2 norm; ties stay in the order given.
    """
    similarities = (directions @ query).clamp(min=-1, max=1)  # (P,)
    order = similarities.argsort(descending=True, stable=True)
    return RankedIdentities(people=people[order], similarities=similarities[order])


def rank_by_vote(
    similarities: Tensor, people: Tensor, *, votes: int, temperature: float
) -> RankedIdentities:
    """Rank people by the votes of a query's nearest images, those without a vote by their best.

    Each of the nearest images votes for its person with the weight exp(similarity / temperature)
    (weighted k-nearest neighbours: Dudani 1976, doi:10.1109/TSMC.1976.5408784; the weight: Wu et
    al. 2018, arXiv:1805.01978). Votes choose the person; the similarity given is that of the
    person's most similar image, which stays a cosine however many images vote, so the similarities
    need not descend.

    Similarities, (K,) float32, are of images of people, (K,) int64, nearest first by this or
    another measure. A small temperature lets the nearest decide, a large one counts heads.
    """
    near = similarities[:votes].double()
    weights = ((near - near.max()) / temperature).exp() if len(near) else near  # (k,)
    first = _first_places(people)
    named = people[first]  # (P,)
    places = torch.searchsorted(named.sort().values, people)  # (K,) among the sorted names
    by_name = named.argsort()
    totals = torch.zeros(len(named), dtype=torch.float64)
    totals.index_add_(0, places[:votes], weights)
    best = torch.full((len(named),), -torch.inf, dtype=similarities.dtype)
    best.scatter_reduce_(0, places, similarities, reduce="amax")
    total_of, best_of = torch.empty_like(totals), torch.empty_like(best)
    total_of[by_name], best_of[by_name] = totals, best
    order = total_of.argsort(descending=True, stable=True)  # people without a vote stay as they are
    return RankedIdentities(people=named[order], similarities=best_of[order])


def _first_places(people: Tensor) -> Tensor:
    """Find where each person occurs first, ascending: (P,) int64."""
    _, inverse = torch.unique(people, return_inverse=True)
    num_people = int(inverse.max()) + 1 if len(people) else 0
    return _first_of_each(inverse, num_groups=num_people).sort().values


def _first_of_each(groups: Tensor, *, num_groups: int) -> Tensor:
    """Find the place at which each group occurs first in (N,) groups: (num_groups,) int64."""
    places = torch.arange(len(groups))
    return torch.full((num_groups,), len(groups)).scatter_reduce_(0, groups, places, reduce="amin")
