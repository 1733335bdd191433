"""CMC, mAP and mINP of ranked galleries, by the Market-1501 protocol (Zheng et al. 2015).

Letters: Q queries, G gallery, K answers per query, R true matches of a query, D width.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from reid.domain.errors import EvaluationError
from reid.domain.values.counts import counted
from reid.domain.values.features import EmbeddingSet
from reid.domain.values.recipes import RerankingRecipe
from reid.domain.values.reports import EvaluationReport
from reid.domain.values.samples import Sample


@dataclass(frozen=True, slots=True)
class QueryScores:
    """Scores of each query; those of query chunks can be joined."""

    average_precision: Tensor  # (Q,) float64 in 0..1; 0 where the query has no true match
    inverse_negative_penalty: Tensor
    """(Q,) float64 in 0..1: R over the rank of the last true match, 0 if one was not found."""
    first_match_rank: Tensor  # (Q,) int64, one-based; 0 where no true match is among the answers
    num_matches: Tensor  # (Q,) int64: R, true matches in the gallery after the same-camera rule

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
        """(Q,) bool: whether the query has a true match; other queries do not count."""
        return self.num_matches > 0

    @classmethod
    def concatenate(cls, parts: Sequence["QueryScores"]) -> "QueryScores":
        """Join the scores of query chunks, in order; at least one chunk."""
        names = [field.name for field in fields(cls)]
        return cls(**{name: torch.cat([getattr(part, name) for part in parts]) for name in names})


def score_rankings(
    ranking: Tensor,
    *,
    queries: EmbeddingSet,
    gallery: EmbeddingSet,
    remove_same_camera: bool = True,
) -> QueryScores:
    """Score ranked galleries; only pids and camids of the two sets are used.

    Gallery images of the query's own person and camera are taken out before ranks are counted. AP
    is the mean precision at the true matches; those that an approximate index did not find count as
    0. Differs from CLIP-ReID: CMC needs no row of a fixed length, so that a gallery which the
    same-camera rule leaves nearly empty can be scored.

    `ranking` is (Q, K) int64 distinct rows of the whole gallery, nearest first; -1 where none was
    found. The scores are on the CPU.

    Raises:
        ValueError: `ranking` does not fit the sets.
    """
    num_gallery = len(gallery)
    if ranking.ndim != 2 or len(ranking) != len(queries) or ranking.shape[1] > num_gallery:
        raise ValueError(
            f"ranking {tuple(ranking.shape)} does not fit {len(queries)} queries and "
            f"{num_gallery} gallery rows"
        )
    if ranking.numel() and not -1 <= int(ranking.min()) <= int(ranking.max()) < num_gallery:
        raise ValueError(f"ranking holds rows outside -1..{num_gallery - 1}")
    ranking = ranking.cpu()
    is_match = queries.pids.cpu()[:, None] == gallery.pids.cpu()[None, :]  # (Q, G)
    is_junk = torch.zeros_like(is_match)
    if remove_same_camera:
        is_junk = is_match & (queries.camids.cpu()[:, None] == gallery.camids.cpu()[None, :])
    num_matches = (is_match & ~is_junk).sum(dim=1)  # (Q,)
    is_known = is_match.gather(1, ranking.clamp(min=0)) & (ranking >= 0)  # (Q, K)
    rows, positions = is_known.nonzero(as_tuple=True)  # query and place of every same pid
    junk = is_junk[rows, ranking[rows, positions]]
    ranks = positions + 1 - count_so_far(junk, rows)
    return score_hits(rows[~junk], ranks=ranks[~junk], num_matches=num_matches)


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

    G includes the junk by the same-camera rule. An exact index has the recall 1. The CMC curve has
    `max_rank` entries where the gallery has as many images.

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
    """Check before hours of embedding that anything can be scored.

    Raises:
        EvaluationError: No query has a true match.
    """
    annotations = {(sample.pid, sample.camid) for sample in gallery}
    cameras = Counter(pid for pid, _ in annotations)  # of each person
    for query in queries:
        is_seen_there = (query.pid, query.camid) in annotations
        if cameras[query.pid] > (is_seen_there and remove_same_camera):
            return
    raise EvaluationError(
        _explain_no_match(len(queries), is_same_camera_removed=remove_same_camera)
    )


def count_so_far(flags: Tensor, rows: Tensor) -> Tensor:
    """Count the flags up to and including each element, row by row.

    Flags are (P,) bool and rows (P,) int64, ascending; the counts are (P,) int64.
    """
    counts = flags.long().cumsum(dim=0)
    starts = torch.searchsorted(rows, rows)  # first element of the same row
    return counts - (counts - flags.long())[starts]


def score_hits(rows: Tensor, *, ranks: Tensor, num_matches: Tensor) -> QueryScores:
    """Score true matches by their ranks.

    Rows are the (P,) int64 queries of the matches found, ascending; ranks (P,) int64, one-based,
    ascending within a query, without junk; `num_matches` (Q,) int64, found or not.
    """
    hits = count_so_far(torch.ones_like(rows, dtype=torch.bool), rows)
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
        return "there is no query image; nothing can be evaluated"
    asked = counted(num_queries, "query")
    if not is_same_camera_removed:
        return (
            f"not one of {asked} shows a person of whom the gallery has an image; "
            "check that query and gallery name the same people in the same way"
        )
    return (
        f"not one of {asked} has a gallery image of the same person from another "
        "camera, and images from the query's own camera do not count; if the cameras are "
        "unknown or there is a single one, that rule cannot apply: evaluate without it "
        "(evaluation.same_camera_rule = false)"
    )
