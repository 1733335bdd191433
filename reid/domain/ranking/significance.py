"""Paired comparison of evaluations of the same queries.

Interval and test use the differences of single queries: how hard a query is affects both
evaluations and cancels out.

Letters: Q queries, S series of differences, N resamples.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from reid.domain.ranking.metrics import QueryScores
from reid.domain.seeding import generator_for
from reid.domain.values.evaluations import CONFIDENCE, NUM_RESAMPLES, ScoreDifference

MEASURES = ("mAP", "mINP", "Rank-1", "Rank-5", "Rank-10")

_ENTRIES_PER_BLOCK = 2**21  # entries of (resamples, queries) held at once: 16 MiB
_ROUNDING = 1e-12  # means this near differ only by the order of summation


def compare_scores(
    pairs: Sequence[tuple[QueryScores, QueryScores]],
    *,
    seed: int,
    num_resamples: int = NUM_RESAMPLES,
) -> list[tuple[ScoreDifference, ...]]:
    """Compare pairs of evaluations, all of the same queries, by the same draws.

    Args:
        pairs: First and second scores of the same Q queries.
        seed: Decides the draws.
        num_resamples: N.

    Returns:
        For each pair its differences, in the order of `MEASURES`: percentile bootstrap interval of
        95 % (Efron & Tibshirani 1993, chapter 13) and two-sided p-value of the paired sign-flip
        permutation test (Fisher's randomization test; Smucker et al. 2007,
        doi:10.1145/1321440.1321528).

    Raises:
        ValueError: The pairs are not of the same queries, or none of these has a true match.
    """
    if not pairs:
        return []
    _require_comparable([scores for pair in pairs for scores in pair])
    tables = [(_measure(first), _measure(second)) for first, second in pairs]
    differences = torch.cat([second - first for first, second in tables])  # (S, Q)
    lows, highs = bootstrap_interval(differences, seed=seed, num_resamples=num_resamples)
    p_values = sign_flip_p_values(differences, seed=seed, num_resamples=num_resamples)
    columns = zip(lows.tolist(), highs.tolist(), p_values.tolist(), strict=True)
    return [
        tuple(
            ScoreDifference(
                measure=measure, first=before, second=after, low=low, high=high, p_value=p_value
            )
            for measure, before, after, (low, high, p_value) in zip(
                MEASURES,
                first.mean(dim=1).tolist(),
                second.mean(dim=1).tolist(),
                [next(columns) for _ in MEASURES],
                strict=True,
            )
        )
        for first, second in tables
    ]


def score_intervals(
    scores: QueryScores, *, seed: int, num_resamples: int = NUM_RESAMPLES
) -> dict[str, tuple[float, float]]:
    """Bound each of an evaluation's `MEASURES` by its queries, as `bootstrap_interval` does.

    Raises:
        ValueError: No query has a true match.
    """
    _require_comparable([scores])
    ends = bootstrap_interval(_measure(scores), seed=seed, num_resamples=num_resamples)
    lows, highs = (end.tolist() for end in ends)
    return dict(zip(MEASURES, zip(lows, highs, strict=True), strict=True))


def bootstrap_interval(
    differences: Tensor,
    *,
    seed: int,
    num_resamples: int = NUM_RESAMPLES,
    confidence: float = CONFIDENCE,
) -> tuple[Tensor, Tensor]:
    """Bound the mean of each series by resampling queries with replacement.

    All series, (S, Q) float64, are resampled N times by the same draws, which `seed` decides.

    Returns:
        (S,) and (S,) float64, the ends between which `confidence` of the resampled means lie.
    """

    def draw(num_rows: int, generator: torch.Generator) -> Tensor:
        num_queries = differences.shape[1]
        drawn = torch.randint(num_queries, (num_rows, num_queries), generator=generator)
        counts = torch.zeros(num_rows, num_queries, dtype=torch.float64)
        return counts.scatter_add_(1, drawn, torch.ones_like(counts))

    generator = generator_for(seed, "comparison", "bootstrap")
    means = torch.cat(list(_weighted_means(differences, num_resamples, draw, generator)))  # (N, S)
    tail = (1 - confidence) / 2
    ends = torch.quantile(means, torch.tensor([tail, 1 - tail], dtype=torch.float64), dim=0)
    return ends[0], ends[1]


def sign_flip_p_values(
    differences: Tensor, *, seed: int, num_resamples: int = NUM_RESAMPLES
) -> Tensor:
    """Test for each (Q,) series whether its mean could be that of differences of random sign.

    N draws of signs, which `seed` decides, are compared with (S, Q) float64 differences. The
    observed signs count as one draw, so that no p-value is 0 (Phipson & Smyth 2010,
    doi:10.2202/1544-6115.1585).

    Returns:
        (S,) float64 in 1 / (N + 1)..1.
    """

    def draw(num_rows: int, generator: torch.Generator) -> Tensor:
        bits = torch.randint(2, (num_rows, differences.shape[1]), generator=generator)
        return bits.double().mul_(2).sub_(1)

    generator = generator_for(seed, "comparison", "signs")
    observed = differences.mean(dim=1).abs()  # (S,)
    reached = torch.ones(len(differences), dtype=torch.float64)
    for means in _weighted_means(differences, num_resamples, draw, generator):
        reached += (means.abs() >= observed - _ROUNDING).sum(dim=0)
    return reached / (num_resamples + 1)


def _weighted_means(
    differences: Tensor,
    num_resamples: int,
    draw: Callable[[int, torch.Generator], Tensor],
    generator: torch.Generator,
) -> Iterator[Tensor]:
    """Compute (n, S) means of the series under drawn weights of the queries, block by block."""
    num_queries = differences.shape[1]
    rows_per_block = max(1, _ENTRIES_PER_BLOCK // num_queries)
    for start in range(0, num_resamples, rows_per_block):
        weights = draw(min(rows_per_block, num_resamples - start), generator)  # (n, Q)
        yield weights @ differences.T / num_queries


def _require_comparable(scores: Sequence[QueryScores]) -> None:
    matches = scores[0].num_matches
    if not all(torch.equal(one.num_matches, matches) for one in scores):
        raise ValueError("the scores are of other queries, or by another protocol")
    if not (matches > 0).any():
        raise ValueError("no query has a true match")


def _measure(scores: QueryScores) -> Tensor:
    """Stack the measures of the valid queries: (5, Q) float64."""
    is_valid = scores.is_valid
    first = scores.first_match_rank[is_valid]
    hits = [((first >= 1) & (first <= k)).double() for k in (1, 5, 10)]
    return torch.stack(
        [scores.average_precision[is_valid], scores.inverse_negative_penalty[is_valid], *hits]
    )
