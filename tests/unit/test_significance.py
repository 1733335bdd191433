"""Paired bootstrap and sign-flip test."""

import itertools

import pytest
import torch
from torch import Tensor

from reid.domain.ranking.metrics import QueryScores
from reid.domain.ranking.significance import (
    MEASURES,
    bootstrap_interval,
    compare_scores,
    score_intervals,
    sign_flip_p_values,
)


def scores(average_precision: list[float], first: list[int], matches: list[int]) -> QueryScores:
    precision = torch.tensor(average_precision, dtype=torch.float64)
    return QueryScores(
        average_precision=precision,
        inverse_negative_penalty=precision / 2,
        first_match_rank=torch.tensor(first),
        num_matches=torch.tensor(matches),
    )


def series(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def test_the_interval_is_that_of_all_resamples() -> None:
    differences = [0.0, 1.0, 2.0, 5.0]
    means = sorted(sum(drawn) / 4 for drawn in itertools.product(differences, repeat=4))
    # 80 %: the ends fall inside steps of the exact distribution, so that drawing finds them.
    low, high = bootstrap_interval(series(differences), seed=1, confidence=0.8)
    assert low.item() == pytest.approx(means[round(0.1 * 256)])
    assert high.item() == pytest.approx(means[round(0.9 * 256)])


def test_the_interval_of_equal_differences_is_a_point() -> None:
    low, high = bootstrap_interval(series([0.25] * 7, [0.0] * 7), seed=3, num_resamples=50)
    assert low.tolist() == pytest.approx([0.25, 0.0])
    assert high.tolist() == pytest.approx([0.25, 0.0])


def test_each_measure_is_bounded_by_the_interval_of_its_queries() -> None:
    precision = [0.2, 0.4, 0.9, 0.5, 0.1]
    found = score_intervals(scores(precision, [1, 9, 1, 3, 20], [1] * 5), seed=4)
    assert found.keys() == set(MEASURES)
    low, high = bootstrap_interval(series(precision, [1.0, 0.0, 1.0, 0.0, 0.0]), seed=4)
    assert found["mAP"] == pytest.approx((low[0].item(), high[0].item()))
    assert found["Rank-1"] == pytest.approx((low[1].item(), high[1].item()))


def test_nothing_is_bounded_without_a_true_match() -> None:
    with pytest.raises(ValueError, match="match"):
        score_intervals(scores([0.0, 0.0], [0, 0], [0, 0]), seed=1)


@pytest.mark.parametrize(
    "differences", [[1.0, 1.0, 1.0], [0.1, -0.2, 0.4, 0.7], [0.0, 0.0], [0.3] * 8, [0.1, -0.1]]
)
def test_the_p_value_is_that_of_all_signs(differences: list[float]) -> None:
    observed = abs(sum(differences)) / len(differences)
    signs = list(itertools.product([-1, 1], repeat=len(differences)))
    means = [abs(sum(s * d for s, d in zip(row, differences, strict=True))) for row in signs]
    reached = sum(mean / len(differences) >= observed - 1e-12 for mean in means)
    p_value = sign_flip_p_values(series(differences), seed=1)
    assert p_value.item() == pytest.approx(reached / len(signs), abs=0.02)


def test_no_p_value_is_zero() -> None:
    p_values = sign_flip_p_values(series([1.0] * 200), seed=1, num_resamples=99)
    assert p_values.item() == pytest.approx(0.01)


def test_a_pair_is_compared_measure_by_measure_over_its_valid_queries() -> None:
    matches = [2, 1, 0, 3]
    first = scores([0.5, 0.2, 0.0, 1.0], first=[2, 11, 0, 1], matches=matches)
    second = scores([1.0, 0.2, 0.0, 1.0], first=[1, 7, 0, 1], matches=matches)
    (found,) = compare_scores([(first, second)], seed=1, num_resamples=200)
    assert tuple(difference.measure for difference in found) == MEASURES
    by_name = {difference.measure: difference for difference in found}
    assert by_name["mAP"].first == pytest.approx(1.7 / 3)
    assert by_name["mAP"].difference == pytest.approx(0.5 / 3)
    assert by_name["mINP"].difference == pytest.approx(0.25 / 3)
    assert by_name["Rank-1"].difference == pytest.approx(1 / 3)
    assert by_name["Rank-5"].difference == pytest.approx(0.0)
    assert by_name["Rank-10"].difference == pytest.approx(1 / 3)
    for difference in found:
        assert difference.low <= difference.difference <= difference.high
        assert not difference.is_significant


def test_a_steady_gain_is_significant_and_a_scattered_one_is_not() -> None:
    generator = torch.Generator().manual_seed(5)
    noise = torch.rand(300, generator=generator, dtype=torch.float64) - 0.5
    matches = [1] * 300
    base = scores([0.5] * 300, first=[1] * 300, matches=matches)
    steady, scattered = (
        scores((0.5 + gain).tolist(), first=[1] * 300, matches=matches)
        for gain in (0.05 + 0.2 * noise, 0.9 * (noise - noise.mean()))
    )
    found = compare_scores([(base, steady), (base, scattered)], seed=1)
    assert found[0][0].is_significant
    assert found[0][0].low > 0
    assert not found[1][0].is_significant
    assert found[1][0].low < 0 < found[1][0].high


def test_the_seed_decides_the_draws_and_other_pairs_do_not() -> None:
    generator = torch.Generator().manual_seed(2)
    made = [
        scores(torch.rand(40, generator=generator).tolist(), first=[1] * 40, matches=[1] * 40)
        for _ in range(3)
    ]
    pair, other = (made[0], made[1]), (made[0], made[2])
    alone = compare_scores([pair], seed=7, num_resamples=500)
    assert compare_scores([pair], seed=7, num_resamples=500) == alone
    together = compare_scores([other, pair], seed=7, num_resamples=500)[1]
    assert [found.p_value for found in together] == [found.p_value for found in alone[0]]
    assert together[0].low == pytest.approx(alone[0][0].low)
    assert compare_scores([pair], seed=8, num_resamples=500) != alone


def test_resampling_in_blocks_gives_what_resampling_at_once_gives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    differences = torch.rand(2, 30, dtype=torch.float64) - 0.4
    whole = sign_flip_p_values(differences, seed=1, num_resamples=100)
    monkeypatch.setattr("reid.domain.ranking.significance._ENTRIES_PER_BLOCK", 30 * 7)
    assert sign_flip_p_values(differences, seed=1, num_resamples=100).equal(whole)


def test_scores_of_other_queries_are_refused() -> None:
    one = scores([0.5, 0.5], first=[1, 1], matches=[1, 1])
    other = scores([0.5, 0.5], first=[1, 1], matches=[1, 2])
    nothing = scores([0.0], first=[0], matches=[0])
    with pytest.raises(ValueError, match="other queries"):
        compare_scores([(one, other)], seed=1)
    with pytest.raises(ValueError, match="no query"):
        compare_scores([(nothing, nothing)], seed=1)
    assert compare_scores([], seed=1) == []
