"""Analysis of an evaluation: pairs of cameras, similarities, hard queries.

Memory is bounded: queries and gallery are compared in stretches.

Letters: Q queries, G gallery, B queries and W gallery rows at once.
"""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from reid.domain.ranking.distances import distances, rank
from reid.domain.ranking.exact_scores import score_embeddings
from reid.domain.ranking.metrics import QueryScores
from reid.domain.values.analyses import AnalysisRecipe, CameraPairs, HardQuery, SimilarityHistogram
from reid.domain.values.features import EmbeddingSet
from reid.domain.values.reports import RankedImage
from reid.domain.values.samples import Sample

Lists: TypeAlias = tuple[Sequence[Sample], Sequence[Sample]]

_ROWS_PER_STRETCH = 256
_STRETCH_LENGTH = 2**14  # similarities held at once: 16 MiB, and their bins


def camera_pairs(
    queries: EmbeddingSet, gallery: EmbeddingSet, *, remove_same_camera: bool = True
) -> CameraPairs:
    """Score each camera's queries against each camera's gallery images alone.

    A query counts where that camera has a true match of it. All rows are of unit L2 norm.
    """
    asked, seen = (tuple(sorted(set(one.camids.tolist()))) for one in (queries, gallery))
    shares: list[list[float | None]] = [[] for _ in asked]
    counts: list[list[int]] = [[] for _ in asked]
    for camera in seen:
        rows = gallery.camids == camera
        part = EmbeddingSet(gallery.vectors[rows], gallery.pids[rows], gallery.camids[rows])
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

    The bins divide -1..1 evenly; a cosine on an edge belongs to the bin above it. All rows are of
    unit L2 norm, on one device. The same-camera rule leaves out pairs of one person and one camera.
    """
    everyone, same, junk = (np.zeros(num_bins, dtype=np.int64) for _ in range(3))
    for start in range(0, len(queries), _ROWS_PER_STRETCH):
        some = queries.part(start, start + _ROWS_PER_STRETCH)
        for first in range(0, len(gallery), _STRETCH_LENGTH):
            part = gallery.part(first, first + _STRETCH_LENGTH)
            cosines = 1 - distances(some.vectors, part.vectors)  # (B, W)
            scaled = (cosines + 1) * (num_bins / 2)
            bins = scaled.floor().clamp(0, num_bins - 1).int().cpu().numpy()  # (B, W)
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
    lists: Lists,
    recipe: AnalysisRecipe,
    remove_same_camera: bool = True,
) -> tuple[HardQuery, ...]:
    """Find the queries of lowest average precision, and what was ranked above their first match.

    Args:
        scores: Of all queries, by the exact ranking.
        queries: Rows of unit L2 norm.
        gallery: On the same device, rows of unit L2 norm.
        lists: The samples of queries and gallery, in the order of the rows.
        recipe: How many queries to find, ties by row, and how many images above the match to list.
        remove_same_camera: Whether the same-camera rule applies.
    """
    valid = scores.is_valid.nonzero().flatten()  # rows of queries
    order = scores.average_precision[valid].sort(stable=True).indices
    found = []
    for row in valid[order[: recipe.num_hardest]].tolist():
        sample, query = lists[0][row], queries.part(row, row + 1)
        rows, similarities = _down_to_match(query, gallery, remove_same_camera=remove_same_camera)
        *above, match = (
            RankedImage(
                name=near.name, label=str(near.pid), similarity=similarity, camera=camera_of(near)
            )
            for near, similarity in zip([lists[1][n] for n in rows], similarities, strict=True)
        )
        found.append(
            HardQuery(
                name=sample.name,
                label=str(sample.pid),
                camera=camera_of(sample),
                average_precision=float(scores.average_precision[row]),
                first_match_rank=int(scores.first_match_rank[row]),
                num_matches=int(scores.num_matches[row]),
                above=tuple(above[: recipe.num_ranked]),
                match=match,
            )
        )
    return tuple(found)


def _down_to_match(
    query: EmbeddingSet, gallery: EmbeddingSet, *, remove_same_camera: bool
) -> tuple[list[int], list[float]]:
    """Rank the gallery for one query down to its first match; return rows and cosines."""
    apart = distances(query.vectors, gallery.vectors)  # (1, G)
    is_match = (gallery.pids == query.pids).cpu()
    is_junk = is_match & (gallery.camids == query.camids).cpu() & remove_same_camera
    ranking = rank(apart)[0]
    ranking = ranking[~is_junk[ranking]]
    rows = ranking[: int(is_match[ranking].int().argmax()) + 1]
    return rows.tolist(), (1 - apart[0].cpu())[rows].tolist()


def camera_of(sample: Sample) -> str:
    """Name a camera as Market-1501 does, from 1."""
    return str(sample.camid + 1)


def choose_people(
    queries: Tensor, gallery: Tensor, *, num_identities: int, num_images: int
) -> tuple[Tensor, Tensor]:
    """Choose a sample for a map: people spread over the whole list, with as many images each.

    At most `num_identities` of the people in both lists of pids, (Q,) and (G,) int64, are chosen,
    with at most `num_images` images in all.

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
