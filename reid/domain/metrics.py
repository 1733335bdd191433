"""CMC, mAP and mINP of ranked galleries, by the Market-1501 protocol (Zheng et al. 2015).

Letters: Q queries, G gallery, K answers per query, R true matches of a query, D width.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from itertools import chain, pairwise

import numpy as np
import torch
from torch import Tensor

from reid.domain.errors import EvaluationError
from reid.domain.values.counts import counted
from reid.domain.values.features import EmbeddingSet
from reid.domain.values.recipes import RerankingRecipe
from reid.domain.values.reports import EvaluationReport
from reid.domain.values.samples import Sample

_ENTRIES_PER_BLOCK = 2**21
"""Distances ordered at once: their sort keys (16 MiB) stay near the cache."""

_SELECTED_SHARE = 16
"""Answers up to this part of the gallery are selected; beyond, sorting all of it is faster."""

_ENTRIES_PER_STRETCH = 2**23
"""Distances held at once while ranks are counted (32 MiB)."""

_ROWS_PER_STRETCH = 256
"""Fewer queries at once would make the matrix product slow."""

_LARGEST_WHOLE_GALLERY = 2**16
"""Larger galleries are compared a stretch at a time, so that memory does not grow with them."""

_STRETCH_LENGTH = 2**14


@dataclass(frozen=True, slots=True)
class QueryScores:
    """How each query fared; scores of query chunks can be joined."""

    average_precision: Tensor
    """(Q,) float64 in 0..1; 0 where the query has no true match."""

    inverse_negative_penalty: Tensor
    """(Q,) float64 in 0..1: R over the rank of the last true match, 0 if one was not found."""

    first_match_rank: Tensor
    """(Q,) int64, one-based; 0 where no true match is among the answers."""

    num_matches: Tensor
    """(Q,) int64: R, true matches in the whole gallery after the same-camera rule."""

    def __post_init__(self) -> None:
        """Refuse scores whose parts disagree."""
        shapes = {tuple(getattr(self, field.name).shape) for field in fields(self)}
        if len(shapes) != 1 or self.num_matches.ndim != 1:
            raise ValueError(f"all scores must be (Q,), got {sorted(shapes)}")

    def __len__(self) -> int:
        """Count the queries."""
        return len(self.num_matches)

    @property
    def is_valid(self) -> Tensor:
        """(Q,) bool: the query has a true match; the others do not count."""
        return self.num_matches > 0

    @classmethod
    def concatenate(cls, parts: Sequence["QueryScores"]) -> "QueryScores":
        """Join the scores of query chunks, in order; at least one chunk."""
        names = [field.name for field in fields(cls)]
        return cls(**{name: torch.cat([getattr(part, name) for part in parts]) for name in names})


def distances(queries: Tensor, gallery: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Cosine distances 1 - cos between all queries and all gallery rows.

    Rounding can put the cosine of equal rows above 1; such distances are clamped to 0, so that
    rows closer than float32 can tell are tied rather than ordered by noise.
    Differs from CLIP-ReID: half its squared Euclidean distance, which ranks alike.

    Args:
        queries: (Q, D) float32, rows of unit L2 norm.
        gallery: (G, D) float32 on the same device, rows of unit L2 norm.
        out: (Q, G) to write into; new memory if None.

    Returns:
        (Q, G) float32 in 0..2.
    """
    cosines = torch.mm(queries, gallery.T, out=out)  # (Q, G)
    return torch.sub(cosines.new_ones(()), cosines, out=cosines).clamp_(min=0, max=2)


def rank(distances: Tensor, *, k: int | None = None) -> Tensor:
    """Order the gallery rows of every query, nearest first, ties by row number.

    Args:
        distances: (Q, G) float32, any device, no NaN.
        k: Only so many nearest rows; all if None.

    Returns:
        (Q, min(k, G)) int64 gallery rows, on the CPU.

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

    Args:
        distances: float32 of any shape, no NaN.
        rows: 0..2**31 - 1, of a shape that fits.

    Returns:
        int64 of the common shape.
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


def score_rankings(
    ranking: Tensor,
    *,
    queries: EmbeddingSet,
    gallery: EmbeddingSet,
    remove_same_camera: bool = True,
) -> QueryScores:
    """Score ranked galleries; only pids and camids of the two sets are looked at.

    Gallery pictures of the query's own person and camera are taken out before ranks are counted.
    AP is the mean precision at the true matches; those an approximate index did not find count
    as 0. Differs from CLIP-ReID: CMC needs no row of a fixed length, so that a gallery which the
    rule leaves nearly empty can be scored.

    Args:
        ranking: (Q, K) int64 distinct gallery rows, nearest first; -1 where none was found.
        queries: The Q queries that `ranking` belongs to.
        gallery: The whole gallery.
        remove_same_camera: Whether the same-camera rule applies.

    Returns:
        Scores of the Q queries, on the CPU.

    Raises:
        ValueError: `ranking` does not fit the sets.
    """
    _check_ranking(ranking, num_queries=len(queries), num_gallery=len(gallery))
    ranking = ranking.cpu()
    is_match = queries.pids.cpu()[:, None] == gallery.pids.cpu()[None, :]  # (Q, G)
    is_junk = torch.zeros_like(is_match)
    if remove_same_camera:
        is_junk = is_match & (queries.camids.cpu()[:, None] == gallery.camids.cpu()[None, :])
    num_matches = (is_match & ~is_junk).sum(dim=1)  # (Q,)
    is_known = is_match.gather(1, ranking.clamp(min=0)) & (ranking >= 0)  # (Q, K)
    rows, positions = is_known.nonzero(as_tuple=True)  # query and place of every same pid
    junk = is_junk[rows, ranking[rows, positions]]
    ranks = positions + 1 - _count_so_far(junk, rows)
    return _score_hits(rows[~junk], ranks=ranks[~junk], num_matches=num_matches)


def score_embeddings(
    queries: EmbeddingSet, gallery: EmbeddingSet, *, remove_same_camera: bool = True
) -> QueryScores:
    """Score the exact ranking by `distances`, ties by row number, without ordering the gallery.

    All scores follow from the ranks of the true matches, and a rank can be counted: it is one plus
    the number of gallery pictures nearer than the match, less the junk among them.

    Args:
        queries: Rows of unit L2 norm.
        gallery: On the same device, rows of unit L2 norm.
        remove_same_camera: Whether the same-camera rule applies.

    Returns:
        The scores that `score_rankings` gives whole rankings, on the CPU.

    Raises:
        EvaluationError: Some embedding is not finite.
    """
    if not (queries.vectors.sum() + gallery.vectors.sum()).isfinite():
        raise EvaluationError(
            "some embedding is not a finite number: the encoder's weights are damaged or its "
            "training diverged; evaluate another run"
        )
    counting = _Counting(gallery, remove_same_camera=remove_same_camera)
    length = max(1, len(gallery))
    if length > _LARGEST_WHOLE_GALLERY:
        length = _STRETCH_LENGTH
    num_rows = max(_ROWS_PER_STRETCH, _ENTRIES_PER_STRETCH // length)
    # One piece of memory for all blocks: those of several sizes would not fit into freed ones.
    memory = gallery.vectors.new_empty(min(num_rows, len(queries)) * length)
    parts = []
    for start in range(0, max(1, len(queries)), num_rows):
        chunk = queries.part(start, start + num_rows)
        stretch = _stretches(chunk, gallery, length=length, memory=memory)
        parts.append(counting.score(chunk, stretch, length=length))
    return QueryScores.concatenate(parts)


def score_distances(
    blocks: Iterable[Tensor],
    *,
    queries: EmbeddingSet,
    gallery: EmbeddingSet,
    remove_same_camera: bool = True,
) -> QueryScores:
    """Score the ranking by given distances, ties by row number, without ordering the gallery.

    Args:
        blocks: (B, G) float32 distances of a few queries, in the order of the queries.
        queries: All that the blocks belong to.
        gallery: The whole gallery.
        remove_same_camera: Whether the same-camera rule applies.

    Returns:
        The scores that `score_rankings` gives whole rankings, on the CPU.
    """
    counting = _Counting(gallery, remove_same_camera=remove_same_camera)
    length = max(1, len(gallery))
    parts, start = [], 0
    for block in chain([torch.empty(0, len(gallery))], blocks):  # there may be no query
        chunk = queries.part(start, start + len(block))
        parts.append(counting.score(chunk, _only_stretch(block), length=length))
        start += len(block)
    return QueryScores.concatenate(parts)


def summarise(
    scores: QueryScores,
    *,
    num_gallery: int,
    is_same_camera_removed: bool,
    is_exact: bool,
    index_recall: float,
    reranking: RerankingRecipe | None = None,
    max_rank: int = 50,
) -> EvaluationReport:
    """Average the scores over the valid queries.

    Args:
        scores: Of all queries.
        num_gallery: G, junk by the same-camera rule included.
        is_same_camera_removed: Whether the rule was applied.
        is_exact: Whether the rankings are those of an exact index.
        index_recall: The index's recall, 1 if exact.
        reranking: What re-ranked the gallery, if anything.
        max_rank: Length of the CMC curve where the gallery has as many pictures.

    Raises:
        EvaluationError: No query has a true match.
    """
    is_valid = scores.is_valid
    if not is_valid.any():
        raise EvaluationError(
            _explain_no_match(len(scores), is_same_camera_removed=is_same_camera_removed)
        )
    first = scores.first_match_rank[is_valid]
    curve_length = min(max_rank, num_gallery)
    within = first[(first >= 1) & (first <= curve_length)]
    hits = torch.bincount(within, minlength=curve_length + 1)[1:].cumsum(dim=0)  # (curve_length,)
    return EvaluationReport(
        cmc=tuple((hits.double() / len(first)).tolist()),
        mean_average_precision=float(scores.average_precision[is_valid].mean()),
        mean_inverse_negative_penalty=float(scores.inverse_negative_penalty[is_valid].mean()),
        num_queries=len(scores),
        num_valid_queries=len(first),
        num_gallery=num_gallery,
        is_same_camera_removed=is_same_camera_removed,
        is_exact=is_exact,
        index_recall=index_recall,
        reranking=reranking,
    )


def require_matches(
    queries: Sequence[Sample], gallery: Sequence[Sample], *, remove_same_camera: bool
) -> None:
    """Find out before hours of embedding whether anything can be scored.

    Raises:
        EvaluationError: No query has a true match.
    """
    passages = {(sample.pid, sample.camid) for sample in gallery}
    cameras = Counter(pid for pid, _ in passages)  # of each person
    for query in queries:
        is_seen_there = (query.pid, query.camid) in passages
        if cameras[query.pid] > (is_seen_there and remove_same_camera):
            return
    raise EvaluationError(
        _explain_no_match(len(queries), is_same_camera_removed=remove_same_camera)
    )


def _sort(distances: Tensor, k: int) -> Tensor:
    """Order whole rows; numpy sorts several times as fast as torch on one CPU core."""
    keys = order_keys(distances.numpy(), np.arange(distances.shape[1]))  # (Q, G)
    keys.sort(axis=1)
    return torch.from_numpy(split_keys(keys[:, :k])[1])


class _Counting:
    """Scores of queries against one gallery, from counted ranks."""

    def __init__(self, gallery: EmbeddingSet, *, remove_same_camera: bool) -> None:
        pids = gallery.pids.cpu().numpy()
        self._rows = np.argsort(pids, kind="stable")  # (G,) grouped by person
        self._pids = pids[self._rows]
        self._camids = gallery.camids.cpu().numpy()
        self._remove_same_camera = remove_same_camera

    def score(
        self, queries: EmbeddingSet, stretch: Callable[[int], np.ndarray], *, length: int
    ) -> QueryScores:
        """Score some queries.

        Args:
            queries: B queries.
            stretch: Gives the (B, length) distances to the gallery rows from a given one on; the
                last stretch may be shorter. Asked for twice where it holds true matches.
            length: Of a stretch, in gallery rows.
        """
        owners, rows = self._same_person(queries)  # (P,) each: query and gallery row of pairs
        own = np.empty(len(rows), dtype=np.float32)
        for start in np.unique(rows // length * length).tolist():
            inside = rows // length * length == start
            own[inside] = stretch(start)[owners[inside], rows[inside] - start]
        order = np.lexsort((rows, own, owners))
        owners, rows, own = owners[order], rows[order], own[order]
        junk = self._is_junk(queries, owners, rows)
        nearer_junk = _count_so_far(torch.from_numpy(junk), torch.from_numpy(owners)).numpy()
        owners, rows, own = owners[~junk], rows[~junk], own[~junk]
        ranks = 1 - nearer_junk[~junk]
        for start in range(0, len(self._rows), length):
            ranks += _count_nearer(stretch(start), start, owners=owners, own=own, rows=rows)
        return _score_hits(
            torch.from_numpy(owners),
            ranks=torch.from_numpy(ranks),
            num_matches=torch.from_numpy(np.bincount(owners, minlength=len(queries))),
        )

    def _same_person(self, queries: EmbeddingSet) -> tuple[np.ndarray, np.ndarray]:
        pids = queries.pids.cpu().numpy()
        starts = np.searchsorted(self._pids, pids, side="left")
        counts = np.searchsorted(self._pids, pids, side="right") - starts
        owners = np.repeat(np.arange(len(pids)), counts)
        within = np.arange(len(owners)) - np.repeat(np.cumsum(counts) - counts, counts)
        return owners, self._rows[starts[owners] + within]

    def _is_junk(self, queries: EmbeddingSet, owners: np.ndarray, rows: np.ndarray) -> np.ndarray:
        same: np.ndarray = queries.camids.cpu().numpy()[owners] == self._camids[rows]
        return same & self._remove_same_camera


def _stretches(
    queries: EmbeddingSet, gallery: EmbeddingSet, *, length: int, memory: Tensor
) -> Callable[[int], np.ndarray]:
    """Compute distances by stretches of the gallery, each in the memory of the one before."""

    @lru_cache(maxsize=1)  # a gallery of one stretch is compared once
    def stretch(start: int) -> np.ndarray:
        part = gallery.vectors[start : start + length]  # (W, D)
        block = memory[: len(queries) * len(part)].view(len(queries), len(part))
        found: np.ndarray = distances(queries.vectors, part, out=block).cpu().numpy()
        return found

    return stretch


def _only_stretch(block: Tensor) -> Callable[[int], np.ndarray]:
    whole: np.ndarray = block.cpu().numpy()
    return lambda _: whole


def _count_nearer(
    block: np.ndarray, first: int, *, owners: np.ndarray, own: np.ndarray, rows: np.ndarray
) -> np.ndarray:
    """Count the gallery pictures that come before each true match.

    Pictures farther than a query's farthest match come before none. The others are looked up among
    the matches, which are few, rather than ordered: that is at least as fast, and several times as
    fast where some match is far.

    Args:
        block: (B, W) distances to the gallery rows from `first` on.
        first: Gallery row.
        owners: (P,) query of each match, ascending.
        own: (P,) distance of each match, ascending per query.
        rows: (P,) gallery row of each match, ascending among equal distances.

    Returns:
        (P,) int64.
    """
    keys = order_keys(own, rows)  # (P,)
    counts = np.zeros(len(keys), dtype=np.int64)
    bounds = np.searchsorted(owners, np.arange(len(block) + 1)).tolist()
    for found, (start, stop) in zip(block, pairwise(bounds), strict=True):
        if start < stop:
            near = np.flatnonzero(found <= own[stop - 1])
            before = order_keys(found[near], near + first)
            passed = np.searchsorted(keys[start:stop], before, side="right")
            counts[start:stop] = np.bincount(passed, minlength=stop - start + 1).cumsum()[:-1]
    return counts


def _select(distances: Tensor, k: int) -> Tensor:
    """Order the k nearest only; top-k gives their largest distance, but promises nothing on ties.

    All rows as near as that one are candidates, so that ties across the boundary are seen too.
    """
    boundary = distances.topk(k, dim=1, largest=False).values.amax(dim=1, keepdim=True)  # (Q, 1)
    queries, rows = (distances <= boundary).nonzero(as_tuple=True)  # rows ascend per query
    order = np.lexsort((distances[queries, rows].numpy(), queries.numpy()))  # stable
    starts = torch.searchsorted(queries, torch.arange(len(distances)))  # (Q,)
    return rows[torch.from_numpy(order)][starts[:, None] + torch.arange(k)]  # (Q, k)


def _check_ranking(ranking: Tensor, *, num_queries: int, num_gallery: int) -> None:
    if ranking.ndim != 2 or len(ranking) != num_queries or ranking.shape[1] > num_gallery:
        raise ValueError(
            f"ranking {tuple(ranking.shape)} does not fit {num_queries} queries and "
            f"{num_gallery} gallery rows"
        )
    if ranking.numel() and not -1 <= int(ranking.min()) <= int(ranking.max()) < num_gallery:
        raise ValueError(f"ranking holds rows outside -1..{num_gallery - 1}")


def _count_so_far(flags: Tensor, rows: Tensor) -> Tensor:
    """Count the flags up to and including each element, anew in every row; rows ascend."""
    counts = flags.long().cumsum(dim=0)
    starts = torch.searchsorted(rows, rows)  # first element of the same row
    return counts - (counts - flags.long())[starts]


def _score_hits(rows: Tensor, *, ranks: Tensor, num_matches: Tensor) -> QueryScores:
    """Score true matches given by query and rank, ordered by both."""
    hits = _count_so_far(torch.ones_like(rows, dtype=torch.bool), rows)
    precision_sum = torch.zeros(len(num_matches), dtype=torch.float64)
    precision_sum.index_add_(0, rows, hits.double() / ranks.double())
    penalty = torch.zeros(len(num_matches), dtype=torch.float64)
    is_last = hits == num_matches[rows]
    penalty[rows[is_last]] = hits[is_last].double() / ranks[is_last].double()
    first = torch.zeros(len(num_matches), dtype=torch.int64)
    first[rows[hits == 1]] = ranks[hits == 1]
    return QueryScores(
        average_precision=precision_sum / num_matches.clamp(min=1),
        inverse_negative_penalty=penalty,
        first_match_rank=first,
        num_matches=num_matches,
    )


def _explain_no_match(num_queries: int, *, is_same_camera_removed: bool) -> str:
    if num_queries == 0:
        return "there is no query picture; nothing can be evaluated"
    asked = counted(num_queries, "query", "queries")
    if not is_same_camera_removed:
        return (
            f"not one of {asked} shows a person of whom the gallery has a picture; "
            "check that query and gallery name the same people in the same way"
        )
    return (
        f"not one of {asked} has a gallery picture of the same person from another "
        "camera, and pictures from the query's own camera do not count; if the cameras are "
        "unknown or there is a single one, that rule cannot apply: evaluate without it by "
        "--no-same-camera-rule (setting evaluation.same_camera_rule = false)"
    )
