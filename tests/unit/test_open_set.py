"""Unknown people named, and known people named rightly."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reid.domain.ranking.open_set import (
    OpenSetTrials,
    confidence_of,
    fit_confidence,
    operating_point,
    summarise_trials,
)

Trial = tuple[float, bool, bool]

similarity = st.integers(-10, 10).map(lambda tenth: tenth / 10)
known = st.tuples(similarity, st.sampled_from([True]), st.booleans())
non_mated = st.tuples(similarity, *[st.sampled_from([False])] * 2)
both = st.tuples(
    st.lists(known, min_size=1, max_size=20), st.lists(non_mated, min_size=1, max_size=10)
).map(lambda parts: parts[0] + parts[1])
"""With ties, within and between the two kinds; too few unknown ones to thin the curve."""


def trials_of(trials: list[Trial]) -> OpenSetTrials:
    similarities, is_known, is_right = zip(*trials, strict=True)
    return OpenSetTrials(
        similarities=torch.tensor(similarities, dtype=torch.float64),
        is_known=torch.tensor(is_known),
        is_right=torch.tensor(is_right),
    )


def rates_at(trials: list[Trial], threshold: float) -> tuple[float, float]:
    """Count both rates one trial at a time."""
    non_mated = [s for s, is_known, _ in trials if not is_known]
    right = [s for s, _, is_right in trials if is_right]
    num_known = len(trials) - len(non_mated)
    false = sum(s >= threshold for s in non_mated) / len(non_mated)
    return false, sum(s >= threshold for s in right) / num_known


def thresholds_of(trials: list[Trial]) -> list[float]:
    """Every place where a rate can change, and one above all."""
    return [*sorted({s for s, _, _ in trials}), 2.0]


def people(num_known: int, num_non_mated: int) -> list[Trial]:
    """Known people from 0.5 up, unknown people from 0.45 up, half a thousandth apart."""
    return [
        *((0.5 + row / 1000, True, row % 10 > 0) for row in range(num_known)),
        *((0.45 + row / 1000 + 1 / 2000, False, False) for row in range(num_non_mated)),
    ]


@given(both, st.sampled_from([0.0, 0.01, 0.1, 0.25, 0.29, 0.5, 0.9, 1.0]))
def test_no_threshold_names_more_people_at_a_false_accept_rate(
    trials: list[Trial], rate: float
) -> None:
    point = operating_point(trials_of(trials), rate)
    allowed = [
        rates_at(trials, t)[1] for t in thresholds_of(trials) if rates_at(trials, t)[0] <= rate
    ]
    false, right = rates_at(trials, point.threshold)
    assert false == point.measured_false_accept_rate
    assert false <= rate
    assert right == max(allowed)
    if point.identification_rate is not None:
        assert point.identification_rate == right


@given(both)
def test_the_curve_goes_through_every_threshold(trials: list[Trial]) -> None:
    curve = dict(summarise_trials(trials_of(trials), [0.1]).curve)
    best: dict[float, float] = {}
    for threshold in thresholds_of(trials):
        false, right = rates_at(trials, threshold)
        best[false] = max(right, best.get(false, 0.0))
    assert curve == best


@given(both)
def test_both_rates_of_the_curve_ascend_to_rank_1(trials: list[Trial]) -> None:
    report = summarise_trials(trials_of(trials), [])
    assert all(a[0] < b[0] and a[1] <= b[1] for a, b in pairwise(report.curve))
    assert report.curve[-1] == (1.0, report.rank_1)
    assert report.rank_1 == rates_at(trials, -2)[1]


def test_a_rate_is_met_exactly_where_that_can_be() -> None:
    report = summarise_trials(trials_of(people(500, 100)), [0.29, 0.01, 0.1])
    assert [point.false_accept_rate for point in report.points] == [0.01, 0.1, 0.29]
    assert [p.measured_false_accept_rate for p in report.points] == [0.01, 0.1, 0.29]


def test_too_few_unknown_people_measure_no_small_rate() -> None:
    report = summarise_trials(trials_of(people(50, 100)), [1e-3, 1e-2])
    assert report.resolution == 0.01
    small, resolved = report.points
    assert small.identification_rate is None
    assert small.measured_false_accept_rate == 0
    assert resolved.identification_rate is not None


def test_equal_unknown_people_pass_together_or_not_at_all() -> None:
    trials = [(0.9, False, False)] * 2 + [(0.1, False, False)] * 2 + [(0.5, True, True)]
    point = operating_point(trials_of(trials), 0.25)
    assert point.measured_false_accept_rate == 0
    assert point.threshold > 0.9
    assert point.identification_rate == 0


def test_a_known_person_as_near_as_an_unknown_person_does_not_pass_alone() -> None:
    point = operating_point(trials_of([(0.5, True, True), (0.5, False, False)]), 0.0)
    assert point.identification_rate == 0
    assert point.measured_false_accept_rate == 0


def test_the_threshold_lies_between_the_trials() -> None:
    point = operating_point(trials_of([(0.8, True, True), (0.4, False, False)]), 0.0)
    assert point.threshold == pytest.approx(0.6)
    assert point.identification_rate == 1


def test_neighbouring_floats_are_told_apart() -> None:
    low = 0.5
    trials = trials_of([(math.nextafter(low, 1), True, True), (low, False, False)])
    point = operating_point(trials, 0.0)
    assert (point.identification_rate, point.measured_false_accept_rate) == (1, 0)


def test_a_long_curve_is_thinned_but_keeps_its_ends() -> None:
    report = summarise_trials(trials_of(people(3000, 5000)), [])
    assert 50 < len(report.curve) < 150
    assert report.curve[0][0] == 0
    assert report.curve[-1][0] == 1


@pytest.mark.parametrize("kept", [True, False])
def test_one_kind_of_query_alone_is_refused(kept: bool) -> None:  # noqa: FBT001
    trials = [trial for trial in people(3, 3) if trial[1] is kept]
    with pytest.raises(ValueError, match="known queries and unknown people"):
        summarise_trials(trials_of(trials), [0.1])


@pytest.mark.parametrize("rate", [-0.1, 1.1, math.nan])
def test_a_rate_out_of_range_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="false-accept rate"):
        operating_point(trials_of(people(3, 3)), rate)


@pytest.mark.parametrize(
    ("trial", "problem"),
    [((math.nan, True, True), "finite"), ((0.5, False, True), "unknown person")],
)
def test_trials_that_cannot_be_are_refused(trial: Trial, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        trials_of([trial])


def plain_fit(values: list[float], right: list[bool]) -> tuple[float, float]:
    """Newton's method in plain floats."""
    high = (sum(right) + 1) / (sum(right) + 2)
    low = 1 / (len(right) - sum(right) + 2)
    targets = [high if one else low for one in right]
    slope = intercept = 0.0
    for _ in range(60):
        shares = [1 / (1 + math.exp(-(slope * x + intercept))) for x in values]
        gap = [share - target for share, target in zip(shares, targets, strict=True)]
        weight = [share * (1 - share) for share in shares]
        g0 = sum(g * x for g, x in zip(gap, values, strict=True))
        g1 = sum(gap)
        h00 = sum(w * x * x for w, x in zip(weight, values, strict=True))
        h01 = sum(w * x for w, x in zip(weight, values, strict=True))
        h11 = sum(weight)
        determinant = h00 * h11 - h01 * h01
        slope -= (h11 * g0 - h01 * g1) / determinant
        intercept -= (h00 * g1 - h01 * g0) / determinant
    return slope, intercept


def test_the_confidence_is_platts() -> None:
    values = [0.1, 0.25, 0.3, 0.42, 0.45, 0.5, 0.58, 0.6, 0.7, 0.9]
    right = [False, False, True, False, True, False, True, True, True, True]
    slope, intercept = fit_confidence(
        torch.tensor(values, dtype=torch.float64), torch.tensor(right)
    )
    assert (slope, intercept) == pytest.approx(plain_fit(values, right), rel=1e-6)


def test_a_confidence_comes_out_on_average_as_often_right() -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(4000, generator=generator, dtype=torch.float64)
    truth = torch.sigmoid(12 * values - 7)
    right = torch.rand(4000, generator=generator, dtype=torch.float64) < truth
    slope, intercept = fit_confidence(values, right)
    found = confidence_of(values, slope=slope, intercept=intercept)
    assert float(found.mean()) == pytest.approx(float(right.double().mean()), abs=1e-3)
    assert float((found - truth).abs().max()) < 0.05


@pytest.mark.parametrize("answer", [True, False])
def test_answers_all_of_one_kind_keep_the_confidence_finite(answer: bool) -> None:  # noqa: FBT001
    values = torch.linspace(0, 1, 20, dtype=torch.float64)
    slope, intercept = fit_confidence(values, torch.full((20,), answer))
    found = confidence_of(values, slope=slope, intercept=intercept)
    assert float(found.mean()) == pytest.approx(21 / 22 if answer else 1 / 22, abs=1e-6)


def test_separated_answers_keep_the_confidence_finite() -> None:
    values = torch.linspace(0, 1, 20, dtype=torch.float64)
    slope, intercept = fit_confidence(values, values > 0.5)
    assert 0 < slope < 1e3
    assert math.isfinite(intercept)


def test_equal_similarities_tell_nothing() -> None:
    values = torch.full((4,), 0.5, dtype=torch.float64)
    slope, intercept = fit_confidence(values, torch.tensor([True, True, False, False]))
    assert slope == 0
    assert float(confidence_of(values, slope=slope, intercept=intercept)[0]) == pytest.approx(0.5)


def test_a_fit_gives_the_same_bits_again() -> None:
    values = torch.linspace(0, 1, 50, dtype=torch.float64)
    right = torch.arange(50) % 3 > 0
    assert fit_confidence(values, right) == fit_confidence(values, right)


def test_no_trial_gives_no_confidence() -> None:
    with pytest.raises(ValueError, match="no trial"):
        fit_confidence(torch.empty(0, dtype=torch.float64), torch.empty(0, dtype=torch.bool))
