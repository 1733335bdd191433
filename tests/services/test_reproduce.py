"""A recorded evaluation done again, on fakes."""

from dataclasses import replace
from typing import Any

import pytest

from reid.application.records import RecordedEvaluation
from reid.application.reproduce import ReproductionOutcome, recorded_settings
from reid.application.reproduce import reproduce as reproduce_evaluation
from reid.domain.errors import CheckpointError
from reid.domain.values.checkpoints import Checkpoint
from tests.fakes.dataset import FakeDataset
from tests.fakes.encoder import FakeEncoder
from tests.fakes.run_records import FakeRunRecords
from tests.services.evaluating import Bench


@pytest.fixture
def bench() -> Bench:
    made = Bench(settings={"seed": 1, "index": {"kind": "exact"}})
    made.evaluate()
    return made


def reproduce(bench: Bench, *, tolerance: float = 0.0, **changes: Any) -> ReproductionOutcome:
    source = RecordedEvaluation(FakeRunRecords.of(bench.runs), "evaluation")
    again = replace(bench, **changes)
    return reproduce_evaluation(source, evaluate=again.use_case(), tolerance=tolerance)


def test_the_same_evaluation_is_reproduced(bench: Bench) -> None:
    outcome = reproduce(bench)
    assert outcome.is_reproduced
    assert outcome.causes == outcome.environment == ()
    assert [pair.measure for pair in outcome.scores] == [
        "mAP", "mINP", "Rank-1", "Rank-5", "Rank-10",
    ]  # fmt: skip
    assert all(pair.recorded == pair.now for pair in outcome.scores)


def test_other_settings_are_named_one_by_one(bench: Bench) -> None:
    outcome = reproduce(bench, settings={"seed": 2, "index": {"kind": "annoy"}, "new": True})
    assert outcome.differing == ("settings.seed", "settings.index.kind", "settings.new")
    assert outcome.causes[0].recorded == 1
    assert outcome.causes[0].now == 2


def test_settings_of_what_was_not_used_do_not_count(bench: Bench) -> None:
    used = {"kind": "exact", "annoy": {"trees": 5}, "options": {}}
    bench = replace(bench, settings={"index": used, "evaluation": {"rerank": False}})
    bench.evaluate()
    index = {**used, "annoy": {"trees": 7}, "hnsw": {"recall": 0.95}}
    settings = {"index": index, "evaluation": {"rerank": False}, "reranking": {"k1": 20}}
    assert reproduce(bench, settings=settings).is_reproduced
    for changed, part in (
        ({**settings, "index": {**index, "options": {"n": 1}}}, "settings.index.options.n"),
        ({**settings, "evaluation": {"rerank": True}}, "settings.evaluation.rerank"),
        ({**settings, "index": {**index, "kind": "annoy"}}, "settings.index.annoy.trees"),
    ):
        assert part in reproduce(bench, settings=changed).differing


def test_other_training_images_change_no_evaluation(bench: Bench) -> None:
    outcome = reproduce(bench, dataset=FakeDataset(identities=9))
    assert [change.part for change in outcome.environment] == ["data.train"]
    assert outcome.is_reproduced


def test_other_weights_and_what_they_change_are_named(bench: Bench) -> None:
    other = FakeEncoder(seed=5)
    bench.runs.save("encoder", Checkpoint(tensors=other.state()))
    outcome = reproduce(bench, encoder=other)
    assert outcome.differing[0] == "weights"
    assert not outcome.is_reproduced


def test_on_other_images_no_more_queries_changed_than_there_were(bench: Bench) -> None:
    outcome = reproduce(bench, dataset=FakeDataset(test_identities=9))
    assert "data.query" in outcome.differing
    assert outcome.num_changed_queries <= outcome.num_queries


def test_a_changed_score_counts_beyond_the_tolerance_only(bench: Bench) -> None:
    queries = dict(bench.runs.records["evaluation.queries"])
    changed = [*queries["average_precision"]]  # type: ignore[misc]
    changed[0] -= 0.01
    bench.runs.record("evaluation.queries", queries | {"average_precision": changed})
    outcome = reproduce(bench)
    assert outcome.num_changed_queries == 1
    assert outcome.differing == ("scores of single queries",)
    assert reproduce(bench, tolerance=0.02).is_reproduced


def test_a_tiny_difference_on_another_machine_may_be_rounding(bench: Bench) -> None:
    record: dict[str, Any] = dict(bench.runs.records["evaluation"])
    mean = record["report"]["mean_average_precision"] + 1e-6
    changed = {**record, "report": {**record["report"], "mean_average_precision": mean}}
    bench.runs.record("evaluation", changed)
    assert reproduce(bench).differing == ("mAP",)
    assert not reproduce(bench).is_rounding
    bench.runs.record("evaluation", changed | {"environment": {"device": "cuda"}})
    assert reproduce(bench).is_rounding
    assert reproduce(bench, tolerance=1e-3).is_reproduced


def test_the_record_stays_as_it_is(bench: Bench) -> None:
    before = dict(bench.runs.records)
    reproduce(bench, dataset=FakeDataset(test_identities=6))
    assert bench.runs.records == before


def test_what_a_run_was_trained_with_is_read_from_its_manifest(bench: Bench) -> None:
    records = FakeRunRecords.of(bench.runs)
    reports = records.reports
    manifest = {"fingerprint": {}, "environment": {"settings": {"seed": 4}}}
    source = RecordedEvaluation(FakeRunRecords(reports=reports, manifest=manifest), "evaluation")
    record, settings = recorded_settings(source)
    assert record.name == "evaluation"
    assert settings == {"seed": 4}
    with pytest.raises(CheckpointError, match="holds no run"):
        recorded_settings(RecordedEvaluation(FakeRunRecords(reports=reports), "evaluation"))
