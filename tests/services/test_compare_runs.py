"""Recorded evaluations beside each other."""

from collections.abc import Sequence
from typing import Any

import pytest

from reid.application.records import RecordedEvaluation, compare_runs
from reid.domain.errors import CheckpointError, EvaluationError
from tests.fakes.run_records import FakeRunRecords
from tests.recorded import recorded_run


def compare(one: FakeRunRecords, other: FakeRunRecords) -> Any:
    return compare_runs(
        RecordedEvaluation(one, "evaluation"), RecordedEvaluation(other, "evaluation"), seed=3
    )


def test_the_outcome_names_both_runs_and_their_difference() -> None:
    worse = recorded_run("worse", average_precision=[0.5, 0.6, 0.7], first_match_rank=[2, 1, 1])
    better = recorded_run("better", average_precision=[0.7, 0.9, 0.8], first_match_rank=[1, 1, 1])
    outcome = compare(worse, better)
    assert (outcome.first.run, outcome.second.run) == ("memory/worse", "memory/better")
    assert outcome.num_queries == 3
    by_name = {found.measure: found for found in outcome.differences}
    assert by_name["mAP"].first == pytest.approx(0.6)
    assert by_name["mAP"].difference == pytest.approx(0.2)
    assert by_name["Rank-1"].difference == pytest.approx(1 / 3)
    assert outcome == compare(worse, better)


def test_a_run_does_not_differ_from_itself() -> None:
    run = recorded_run("one")
    for found in compare(run, run).differences:
        assert (found.difference, found.low, found.high, found.p_value) == (0, 0, 0, 1)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"query": ["a.jpg", "x.jpg", "y.jpg"], "query_digest": "other"},
            r"2 queries of the first only \(b\.jpg, c\.jpg\) and 2 queries of the second only",
        ),
        ({"query_digest": "other"}, "same names, but other people"),
        ({"gallery_digest": "other"}, "different galleries"),
        ({"is_same_camera_removed": False}, "own camera"),
    ],
)
def test_evaluations_of_different_things_are_refused_by_name(
    changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(EvaluationError, match=words) as caught:
        compare(recorded_run("one"), recorded_run("two", **changes))
    assert "memory/one" in str(caught.value)
    assert "memory/two" in str(caught.value)


def test_many_differing_queries_are_shown_by_a_few() -> None:
    names: Sequence[str] = [f"{n}.jpg" for n in range(5)]
    many = recorded_run(
        "many", query=names, average_precision=[0.5] * 5, first_match_rank=[1] * 5,
        query_digest="other",
    )  # fmt: skip
    with pytest.raises(EvaluationError, match=r"5 queries .*\(0\.jpg, 1\.jpg, 2\.jpg, \.\.\.\)"):
        compare(recorded_run("one"), many)


def test_a_run_that_was_not_evaluated_is_refused() -> None:
    begun = FakeRunRecords("none", manifest={"fingerprint": {}, "environment": {}})
    with pytest.raises(CheckpointError, match="memory/none holds no evaluation"):
        compare(recorded_run("one"), begun)


@pytest.mark.parametrize("name", ["evaluation.queries", "run"])
def test_another_file_of_a_run_is_no_evaluation_and_those_there_are_named(name: str) -> None:
    one = recorded_run("one")
    one.reports["run"] = {"version": 1, "fingerprint": {}}
    source = RecordedEvaluation(one, name)
    said = f"memory/one holds no evaluation called '{name}' \\(there is: evaluation\\)"
    with pytest.raises(CheckpointError, match=said):
        compare_runs(source, source, seed=3)


def test_a_damaged_evaluation_says_how_to_record_it_anew() -> None:
    one = recorded_run("one")
    one.reports["evaluation"] = {"version": 1}
    with pytest.raises(CheckpointError, match=r"cannot be read .* evaluate the run again"):
        compare(one, one)


def test_a_place_without_a_run_is_called_one() -> None:
    with pytest.raises(CheckpointError, match="memory/none holds no run"):
        compare(recorded_run("one"), FakeRunRecords("none"))
