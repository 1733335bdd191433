"""Evaluations of a run and what is kept of them, on fakes."""

import json
from dataclasses import replace
from typing import Any

import pytest

from reid.application.evaluate import name_for
from reid.application.records import (
    JudgedQueries,
    RecordedEvaluation,
    evaluation_names,
    read_evaluation,
    require_manifest,
)
from reid.domain.errors import CheckpointError
from reid.domain.values.checkpoints import digest_of
from reid.domain.values.evaluations import EvaluationRecord
from reid.domain.values.recipes import RerankingRecipe
from reid.domain.values.samples import ImageSize, Split
from tests.fakes.dataset import FakeDataset
from tests.fakes.encoder import FakeEncoder
from tests.fakes.run_records import FakeRunRecords
from tests.fakes.vector_index import FakeIndex
from tests.services.evaluating import Bench


def test_the_record_says_what_the_scores_are_of() -> None:
    bench = Bench(settings={"evaluation": {"rerank": False}})
    assert bench.evaluate() == "evaluation"
    record = read_evaluation(FakeRunRecords.of(bench.runs))
    assert record.data["query"].num_images == 6
    assert record.digest_of("train") == bench.runs.fingerprint["dataset.digest"]  # type: ignore[index]
    assert record.weights_digest == digest_of(bench.encoder.state())
    assert record.settings == {"evaluation": {"rerank": False}}
    assert record.seconds == 1.0
    assert record.environment == {"device": "cpu"}
    json.dumps(bench.runs.records["evaluation"])


def test_the_scores_of_the_queries_average_to_the_report() -> None:
    bench = Bench(dataset=FakeDataset(test_identities=6))
    bench.evaluate()
    source = RecordedEvaluation(FakeRunRecords.of(bench.runs), "evaluation")
    judged = JudgedQueries.of(source)
    record, queries = judged.record, judged.queries
    assert tuple(queries.query) == tuple(s.name for s in bench.dataset.samples(Split.QUERY))
    scores = judged.scores
    assert scores.average_precision.mean().item() == record.report.mean_average_precision
    hits = (scores.first_match_rank == 1).double().mean().item()
    assert hits == record.report.rank(1)


def test_every_kind_of_evaluation_has_a_name_of_its_own() -> None:
    bench = Bench()
    kinds = [
        bench,
        replace(bench, reranking=RerankingRecipe(k1=2, k2=1)),
        replace(bench, remove_same_camera=False),
        replace(
            bench,
            index=FakeIndex(is_exact=False, recall=0.9),
            settings={"index": {"kind": "annoy"}},
        ),
        replace(bench, settings={"encoder": {"precision": "bf16"}}),
        replace(bench, dataset=FakeDataset(test_identities=5)),
    ]
    names = [kind.evaluate() for kind in kinds]
    assert names == [
        "evaluation",
        "evaluation-reranked",
        "evaluation-same-camera",
        "evaluation-annoy",
        "evaluation-bf16",
        "evaluation-on-fake",
    ]
    assert evaluation_names(FakeRunRecords.of(bench.runs)) == tuple(sorted(names))


def test_another_size_of_images_replaces_nothing() -> None:
    bench = Bench()
    bench.evaluate()
    larger = FakeEncoder(image_size=ImageSize(24, 8))
    assert replace(bench, encoder=larger).evaluate() == "evaluation-24x8"


def test_a_plain_evaluation_does_not_replace_the_one_of_a_run_that_ended_otherwise() -> None:
    bench = Bench(reranking=RerankingRecipe(k1=2, k2=1))
    use_case = bench.use_case()
    use_case.keep(use_case.run()[1], name="evaluation")
    assert bench.evaluate() == "evaluation"
    assert replace(bench, reranking=None).evaluate() == "evaluation-plain"


def test_a_dataset_without_training_images_is_evaluated_and_recorded() -> None:
    bench = Bench()
    whole = bench.dataset
    tested = {split: whole.samples(split) for split in (Split.QUERY, Split.GALLERY)}
    other = replace(bench, dataset=FakeDataset(splits=tested))
    assert other.evaluate() == "evaluation-on-fake"
    record = read_evaluation(FakeRunRecords.of(bench.runs), "evaluation-on-fake")
    assert record.data.keys() == {"query", "gallery"}
    assert record.digest_of("train") is None


def test_weights_without_a_run_are_scored_and_nothing_is_named() -> None:
    bench = Bench()
    use_case = bench.use_case()
    assert name_for(use_case.run()[1], FakeRunRecords()) is None


def test_a_run_without_an_encoder_is_refused() -> None:
    bench = Bench()
    bench.runs.discard("encoder")
    with pytest.raises(CheckpointError, match="holds no trained encoder"):
        bench.use_case().run()


def test_missing_foreign_and_damaged_records_are_told_apart() -> None:
    bench = Bench()
    bench.evaluate()
    good = FakeRunRecords.of(bench.runs)
    queries = good.reports["evaluation.queries"]
    cases: list[tuple[dict[str, Any], str]] = [
        ({}, "missing"),
        ({"evaluation.queries": {**queries, "weights_digest": "x"}}, "another evaluation"),
        ({"evaluation.queries": {**queries, "query": []}}, "different lengths"),
        ({"evaluation.queries": {**queries, "average_precision": ["x"] * 6}}, "not a number"),
        ({"evaluation.queries": {"query": []}}, "cannot be read"),
    ]
    for reports, words in cases:
        damaged = FakeRunRecords(reports={"evaluation": good.reports["evaluation"], **reports})
        with pytest.raises(CheckpointError, match=words):
            JudgedQueries.of(RecordedEvaluation(damaged, "evaluation"))
    with pytest.raises(CheckpointError, match=r"'other' \(there is: evaluation\)"):
        read_evaluation(good, "other")
    with pytest.raises(CheckpointError, match=r"evaluation of .* cannot be read"):
        read_evaluation(FakeRunRecords(reports={"evaluation": {"version": 1, "dataset": "x"}}))
    with pytest.raises(CheckpointError, match="holds no run"):
        require_manifest(FakeRunRecords())


def test_cameras_left_out_are_a_peculiarity_only_of_an_encoder_that_knows_some() -> None:
    bench = Bench(settings={"evaluation": {"use_cameras": False}})
    bench.evaluate()
    content = bench.runs.records["evaluation"]
    record = EvaluationRecord.parse("evaluation", content)
    assert record.variant == ()
    knowing = replace(record, encoder={"options": {"num_cameras": 2}})
    assert knowing.variant == ("no-cameras",)
