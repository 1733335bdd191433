"""What the results page is told, on fakes."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from reid.application.report_runs import ReportRuns
from reid.domain.errors import CheckpointError, ConfigurationError
from reid.domain.values.results import Results, RunSummary
from reid.settings.recorded import changed_settings
from tests.fakes.page import FakePage
from tests.fakes.run_records import FakeRunRecords
from tests.recorded import evaluation, recorded_run


def epoch(stage: str, number: int, *, total: float = 1.0, **changes: Any) -> dict[str, Any]:
    losses = {"total": total, "triplet": total / 2}
    line = {"event": "epoch_finished", "stage": stage, "epoch": number, "losses": losses}
    return {**line, "seconds": 60.0, **changes}


def started(stage: str, *, first_epoch: int = 1) -> dict[str, Any]:
    return {"event": "stage_started", "stage": stage, "first_epoch": first_epoch}


def run(
    name: str = "one",
    *,
    reports: Mapping[str, Mapping[str, Any]] | None = None,
    progress: Sequence[Mapping[str, Any]] = (),
    fingerprint: Mapping[str, Any] | None = None,
    environment: Mapping[str, Any] | None = None,
    **changes: Any,
) -> FakeRunRecords:
    known = {"seed": 7, "encoder.kind": "rn50", "encoder.weights": "random"}
    settings = {"recipe": "tiny", "dataset": {"root": "/home/me/data/Market"}}
    return FakeRunRecords(
        name,
        reports=recorded_run(name, **changes).reports if reports is None else reports,
        manifest={
            "fingerprint": {**known, "dataset.digest": "train", **(fingerprint or {})},
            "environment": {"settings": settings, "device": "cpu", **(environment or {})},
        },
        progress=progress,
    )


def depart(recipe: str, fingerprint: Mapping[str, Any]) -> tuple[str, ...]:
    return (f"{recipe} with seed {fingerprint['seed']}",)


def report(*runs: FakeRunRecords, baseline: str | None = None) -> Results:
    page = FakePage[Results]()
    ReportRuns(page=page, departures=depart, changes=changed_settings, seed=1).run(
        runs, baseline=baseline
    )
    return page.written[0]


def summary(one: FakeRunRecords) -> RunSummary:
    return report(one).runs[0]


def test_a_run_is_summed_up() -> None:
    progress = [started("prompts"), epoch("prompts", 1), started("encoder"), epoch("encoder", 1)]
    found = summary(run(progress=progress, environment={"threads": 2}))
    assert (found.name, found.recipe, found.seed) == ("one", "tiny", 7)
    assert found.departures == ("tiny with seed 7",)
    assert found.trained_on == "people (2 people, 3 images)"
    assert found.device == "cpu, 2 threads"
    assert found.training_seconds == 120.0
    assert (found.num_epochs("prompts"), found.num_epochs("encoder")) == (1, 1)
    assert [record.name for record in found.evaluations] == ["evaluation"]


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ("random", "random"),
        ("openai", "OpenAI CLIP"),
        ("/models/RN50_120.pth", "checkpoint RN50_120.pth, itself trained from random weights"),
        (None, "unknown"),
    ],
)
def test_the_initialisation_is_said_plainly(weights: str | None, words: str) -> None:
    assert summary(run(fingerprint={"encoder.weights": weights})).initialisation == words


def test_a_pretrained_checkpoint_is_called_a_checkpoint() -> None:
    one = run(fingerprint={"encoder.weights": "models\\RN50_120.pth"})
    one.reports["evaluation"]["encoder"]["is_pretrained"] = True
    assert summary(one).initialisation == "checkpoint RN50_120.pth"


def test_training_images_of_another_list_than_the_evaluated_are_not_counted() -> None:
    assert summary(run(fingerprint={"dataset.digest": "other"})).trained_on == "Market"


def test_the_name_of_an_accelerator_is_said() -> None:
    known = {"device": "cuda", "device_name": "H100", "threads": 8}
    assert summary(run(environment=known)).device == "H100"
    mixed = summary(run(environment={**known, "training_precision": "bf16"}))
    assert mixed.device == "H100, trained in bf16"


def test_epochs_done_again_count_once() -> None:
    progress = [
        started("encoder"), epoch("encoder", 1), epoch("encoder", 2, total=9.0),
        started("encoder", first_epoch=2), epoch("encoder", 2, total=3.0), epoch("encoder", 3),
    ]  # fmt: skip
    found = summary(run(progress=progress))
    assert found.curves[0].epochs == (1, 2, 3)
    assert found.curves[0].losses == {"total": (1.0, 3.0, 1.0), "triplet": (0.5, 1.5, 0.5)}
    assert found.training_seconds == 180.0
    assert found.num_epochs("prompts") is None


def test_a_stage_that_was_begun_anew_shows_its_last_training_only() -> None:
    progress = [started("encoder"), epoch("encoder", 1), epoch("encoder", 2)]
    again = [started("encoder"), epoch("encoder", 1, total=5.0)]
    assert summary(run(progress=[*progress, *again])).curves[0].losses["total"] == (5.0,)


def test_terms_that_an_epoch_lacks_are_not_drawn() -> None:
    progress = [epoch("encoder", 1), epoch("encoder", 2, losses={"total": 1.0})]
    assert summary(run(progress=progress)).curves[0].losses.keys() == {"total"}


def test_a_damaged_log_is_an_error_that_names_the_run() -> None:
    with pytest.raises(CheckpointError, match="log of memory/one"):
        report(run(progress=[{"event": "epoch_finished", "stage": "encoder"}]))


def test_a_run_without_log_or_evaluation_is_told_all_the_same() -> None:
    found = summary(run(reports={}))
    assert found.evaluations == ()
    assert found.training_seconds is None


def test_runs_on_the_same_queries_are_compared_two_by_two() -> None:
    runs = [run(name, average_precision=[0.1 * n] * 3) for n, name in enumerate("abc")]
    other = run("d", query_digest="other")
    pairs = report(*runs, other).pairs
    assert [(pair.first, pair.second) for pair in pairs] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert pairs[0].evaluation == "people"
    assert pairs[1].differences[0].difference == pytest.approx(0.2)


def test_runs_are_compared_by_the_same_protocol_only() -> None:
    plain, reranked = (
        evaluation([0.5] * 3, [1] * 3, query=["a", "b", "c"], reranking=recipe)
        for recipe in (None, {"k1": 20, "k2": 6, "original_weight": 0.3})
    )
    reports = {
        "evaluation": plain[0],
        "evaluation.queries": plain[1],
        "evaluation-reranked": reranked[0],
        "evaluation-reranked.queries": reranked[1],
    }
    pairs = report(run("a", reports=reports), run("b", reports=reports)).pairs
    assert [pair.evaluation for pair in pairs] == ["people", "people, reranked"]


def test_records_without_queries_are_shown_and_said_not_to_be_compared() -> None:
    record = run().reports["evaluation"]
    found = report(run("old", reports={"evaluation": record}), run("new"))
    assert found.uncompared == ("old (evaluation)",)
    assert found.pairs == ()
    assert len(found.runs[0].evaluations) == 1


def test_evaluations_of_earlier_weights_are_left_out_by_name() -> None:
    stale, _ = evaluation([0.9] * 3, [1] * 3, query=["a", "b", "c"], weights_digest="earlier")
    found = summary(run(reports={**run().reports, "evaluation-reranked": stale}))
    assert [record.name for record in found.evaluations] == ["evaluation"]
    assert found.outdated == ("evaluation-reranked",)


def test_runs_are_told_apart_by_name() -> None:
    with pytest.raises(ConfigurationError, match="two runs are called 'one'"):
        report(run("one"), run("one"))
    with pytest.raises(CheckpointError, match="holds no run"):
        report(FakeRunRecords("empty"))


def variant(name: str, precision: float = 0.5, **fingerprint: Any) -> FakeRunRecords:
    named = {key.replace("__", "."): value for key, value in fingerprint.items()}
    return run(name, average_precision=[precision] * 3, fingerprint=named)


def test_runs_near_the_baseline_are_told_by_their_distance_alone() -> None:
    near = variant("near", 0.7, finetuning__triplet_weight=0.0)
    found = report(variant("base"), near, run("far", query_digest="other"), baseline="base")
    assert [one.name for one in found.runs] == ["base", "far"]
    assert found.pairs == ()
    assert found.ablation is not None
    (one,) = found.ablation.runs
    assert [(change.key, change.before, change.after) for change in one.changes] == [
        ("finetuning.triplet_weight", "1.0", "0.0")
    ]
    assert one.difference_in("mAP").difference == pytest.approx(0.2)
    assert one.difference_in("Rank-1").difference == 0.0


def test_other_seeds_of_the_baseline_come_first_and_tell_the_noise() -> None:
    near = variant("near", finetuning__flip_probability=0.0)
    found = report(variant("base", 0.5), near, variant("again", 0.6, seed=8), baseline="base")
    assert found.ablation is not None
    assert [one.run for one in found.ablation.runs] == ["again", "near"]
    assert found.ablation.scores_of_seeds("mAP") == pytest.approx((0.5, 0.6))


def test_more_changes_than_one_idea_takes_make_a_run_of_its_own() -> None:
    keys = [
        f"finetuning__{name}"
        for name in ("epochs", "random_crop_padding", "milestones", "decay_factor")
    ]
    four = variant("four", **dict.fromkeys(keys, 1))
    five = variant("five", **dict.fromkeys([*keys, "seed"], 1))
    found = report(variant("base"), four, five, baseline="base")
    assert [one.name for one in found.runs] == ["base", "five"]


def test_runs_on_other_images_or_without_scores_of_queries_are_told_in_full() -> None:
    other = run("other", fingerprint={"seed": 8, "dataset.digest": "more"})
    bare = run("bare", reports={}, fingerprint={"seed": 8})
    short = variant("short", seed=8)
    del short.reports["evaluation.queries"]
    near = variant("near", seed=9)
    found = report(variant("base"), other, bare, short, near, baseline="base")
    assert [one.name for one in found.runs] == ["base", "other", "bare", "short"]


def test_a_setting_that_came_later_has_the_recipes_value_in_older_runs() -> None:
    found = report(
        variant("base"), variant("near", finetuning__random_crop_padding=10), variant("same",
        seed=8, finetuning__random_crop_padding=5), baseline="base",
    )  # fmt: skip
    assert found.ablation is not None
    assert [
        (one.run, [(change.before, change.after) for change in one.changes])
        for one in found.ablation.runs
    ] == [("same", [("7", "8")]), ("near", [("5", "10")])]


def test_where_a_weights_file_lies_is_no_ablation() -> None:
    here, there = "/home/me/ViT-B-16.pt", "C:\\models\\ViT-B-16.pt"
    runs = [run(name, fingerprint={"encoder.weights": weights, "seed": seed})
            for name, weights, seed in (("base", here, 1), ("near", there, 2))]  # fmt: skip
    found = report(*runs, baseline="base")
    assert found.ablation is not None
    assert [change.key for change in found.ablation.runs[0].changes] == ["seed"]


def test_a_baseline_that_no_run_is_near_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no other run was trained as base"):
        report(variant("base"), run("far", query_digest="other"), baseline="base")
    with pytest.raises(CheckpointError, match="holds no evaluation"):
        report(run("base", reports={}), variant("near", seed=8), baseline="base")
