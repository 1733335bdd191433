"""Analysis of an evaluation: pairs of cameras, similarities, hard queries.

Memory is bounded: queries and gallery are compared in stretches.

Letters: Q queries, G gallery, B queries and W gallery rows at once.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from reid.domain.ranking.distances import distances, rank
from reid.domain.ranking.exact_scores import score_embeddings
from reid.domain.ranking.metrics import QueryScores
from reid.domain.values.analyses import CameraPairs, SimilarityHistogram
from reid.domain.values.features import EmbeddingSet

_ROWS_PER_STRETCH = 256
_STRETCH_LENGTH = 2**14
"""Similarities held at once: 16 MiB, and their bins."""


@dataclass(frozen=True, slots=True)
class RankedRows:
    """A query's first match and the images ranked above it."""

    query: int
    above: tuple[tuple[int, float], ...]
    """Gallery rows and similarities, nearest first."""

    match: tuple[int, float]


def camera_pairs(
    queries: EmbeddingSet, gallery: EmbeddingSet, *, remove_same_camera: bool = True
) -> CameraPairs:
    """Score each camera's queries against each camera's gallery images alone.

    A query counts where that camera has a true match of it.

    Args:
        queries: Rows of unit L2 norm.
        gallery: Rows of unit L2 norm.
        remove_same_camera: Whether the same-camera rule applies.
    """
    asked, seen = _cameras_of(queries), _cameras_of(gallery)
    shares: list[list[float | None]] = [[] for _ in asked]
    counts: list[list[int]] = [[] for _ in asked]
    for camera in seen:
        part = _of_camera(gallery, camera)
        scores = score_embeddings(queries, part, remove_same_camera=remove_same_camera)
        for row, own in enumerate(asked):
            counted = (queries.camids.cpu() == own) & scores.is_valid
            found = scores.average_precision[counted]
            shares[row].append(float(found.mean()) if len(found) else None)
            counts[row].append(len(found))
    return CameraPairs(
        query_cameras=asked,
        gallery_cameras=seen,
        mean_average_precision=tuple(map(tuple, shares)),
        num_queries=tuple(map(tuple, counts)),
    )


def similarity_histogram(
    queries: EmbeddingSet,
    gallery: EmbeddingSet,
    *,
    num_bins: int = 100,
    remove_same_camera: bool = True,
) -> SimilarityHistogram:
    """Count pairs of one person and pairs of different people by their cosine.

    Args:
        queries: Rows of unit L2 norm.
        gallery: On the same device, rows of unit L2 norm.
        num_bins: Bins of one width over -1..1; a cosine on an edge belongs to the bin above it.
        remove_same_camera: Leave out pairs of one person and one camera.
    """
    everyone, same, junk = (np.zeros(num_bins, dtype=np.int64) for _ in range(3))
    for start in range(0, len(queries), _ROWS_PER_STRETCH):
        some = queries.part(start, start + _ROWS_PER_STRETCH)
        for first in range(0, len(gallery), _STRETCH_LENGTH):
            part = gallery.part(first, first + _STRETCH_LENGTH)
            bins = _bins(1 - distances(some.vectors, part.vectors), num_bins)  # (B, W)
            is_same = (some.pids[:, None] == part.pids[None, :]).cpu().numpy()
            is_junk = (some.camids[:, None] == part.camids[None, :]).cpu().numpy() & is_same
            everyone += np.bincount(bins.ravel(), minlength=num_bins)
            same += np.bincount(bins[is_same], minlength=num_bins)
            junk += np.bincount(bins[is_junk], minlength=num_bins)
    matches = same - junk if remove_same_camera else same
    return SimilarityHistogram(
        edges=tuple(np.linspace(-1, 1, num_bins + 1).tolist()),
        same=tuple(matches.tolist()),
        different=tuple((everyone - same).tolist()),
    )


def hardest_queries(
    scores: QueryScores,
    *,
    queries: EmbeddingSet,
    gallery: EmbeddingSet,
    num_queries: int,
    num_ranked: int,
    remove_same_camera: bool = True,
) -> tuple[RankedRows, ...]:
    """Find the queries of lowest average precision, and what was ranked above their first match.

    Args:
        scores: Of all queries, by the exact ranking.
        queries: Rows of unit L2 norm.
        gallery: On the same device, rows of unit L2 norm.
        num_queries: How many to find; ties by row.
        num_ranked: How many images above the first match to list at most.
        remove_same_camera: Whether the same-camera rule applies.
    """
    valid = scores.is_valid.nonzero().flatten()  # rows of queries
    order = scores.average_precision[valid].sort(stable=True).indices
    chosen = valid[order[:num_queries]]
    found = []
    for row in chosen.tolist():
        one = queries.part(row, row + 1)
        apart = distances(one.vectors, gallery.vectors)  # (1, G)
        is_match = (gallery.pids == one.pids).cpu()
        is_junk = is_match & (gallery.camids == one.camids).cpu() & remove_same_camera
        ranking = rank(apart)[0]
        ranking = ranking[~is_junk[ranking]]
        place = int(is_match[ranking].int().argmax())
        similarities = 1 - apart[0].cpu()
        *above, match = ((r, float(similarities[r])) for r in ranking[: place + 1].tolist())
        found.append(RankedRows(query=row, above=tuple(above[:num_ranked]), match=match))
    return tuple(found)


def choose_people(
    queries: Tensor, gallery: Tensor, *, num_identities: int, num_images: int
) -> tuple[Tensor, Tensor]:
    """Choose a sample for a map: people spread over the whole list, with as many images each.

    Args:
        queries: (Q,) int64 pids.
        gallery: (G,) int64 pids.
        num_identities: At most so many people, of those who are in both lists.
        num_images: At most so many images of them in all.

    Returns:
        Rows of the queries and rows of the gallery, ascending.
    """
    people = sorted(set(queries.tolist()) & set(gallery.tolist()))
    count = min(num_identities, len(people))
    chosen = [people[len(people) * n // count] for n in range(count)]
    each = num_images // max(count, 1)
    picked: tuple[list[int], list[int]] = ([], [])
    for pid in chosen:
        left = each
        for rows, pids in zip(picked, (queries, gallery), strict=True):
            own = (pids == pid).nonzero().flatten().tolist()[:left]
            rows.extend(own)
            left -= len(own)
    return torch.tensor(sorted(picked[0])).long(), torch.tensor(sorted(picked[1])).long()


def _bins(cosines: Tensor, num_bins: int) -> np.ndarray:
    scaled = (cosines + 1) * (num_bins / 2)
    found: np.ndarray = scaled.floor().clamp(0, num_bins - 1).int().cpu().numpy()
    return found


def _cameras_of(images: EmbeddingSet) -> tuple[int, ...]:
    return tuple(sorted(set(images.camids.tolist())))


def _of_camera(images: EmbeddingSet, camera: int) -> EmbeddingSet:
    rows = images.camids == camera
    return EmbeddingSet(images.vectors[rows], images.pids[rows], images.camids[rows])
