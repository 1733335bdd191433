"""What a model card says of a run, on fakes."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from reid.adapters.pages.markdown import render_card
from reid.application.model_cards import describe_run
from reid.domain.errors import CheckpointError
from reid.domain.values.model_cards import ModelCard, WeightsFile
from reid.domain.values.models import Catalogue, DatasetTerms, ModelEntry
from tests.fakes.run_records import FakeRunRecords
from tests.recorded import recorded_run

CATALOGUE = Catalogue(
    models={
        "strong": ModelEntry(
            name="strong",
            about="a strong encoder",
            licence="MIT",
            training_data="Home",
            trained_on=("home",),
            page="https://example.org/strong",
            files=(),
        )
    },
    datasets={
        "home": DatasetTerms(
            name="Home",
            terms="for research only",
            page="https://example.org/home",
            training_digest="known",
        )
    },
)
WEIGHTS = WeightsFile(name="encoder.safetensors", size=1_234_567, sha256="abc", parameters=98_765)


def records(
    *,
    fingerprint: Mapping[str, Any] | None = None,
    environment: Mapping[str, Any] | None = None,
    is_evaluated: bool = True,
) -> FakeRunRecords:
    settings = {"recipe": "tiny", "dataset": {"kind": "home", "root": "/home/me/Home"}}
    known = {"seed": 7, "encoder.kind": "rn50", "encoder.weights": "random", "dataset.kind": "home"}
    return FakeRunRecords(
        "one",
        reports=recorded_run("one").reports if is_evaluated else {},
        manifest={
            "fingerprint": {**known, "dataset.digest": "known", **(fingerprint or {})},
            "environment": {
                "settings": settings,
                "device": "cpu",
                "versions": {"torch": "2.8", "open_clip": None},
                **(environment or {}),
            },
        },
    )


def described(one: FakeRunRecords, *, weights: WeightsFile | None = WEIGHTS) -> ModelCard:
    return describe_run(
        one,
        catalogue=CATALOGUE,
        departures=lambda recipe, _: (f"{recipe}.epochs = 2",),
        write_json=json.dumps,
        weights=weights,
        seed=1,
    )


def test_images_known_by_their_digest_pass_their_terms_on() -> None:
    card = described(records())
    assert card.verdict.startswith("Home is given out for research only: these weights keep")
    assert "by its digest, the training list of Home" in card.data[0]


def test_images_in_the_layout_of_a_data_set_may_be_others() -> None:
    card = described(records(fingerprint={"dataset.digest": "mine"}))
    assert "if these are those of Home" in card.verdict
    assert "read in the layout of Home" in card.data[0]


def test_of_images_of_one_s_own_no_terms_are_known() -> None:
    settings = {"recipe": "tiny", "dataset": {"kind": "folders"}}
    card = described(
        records(fingerprint={"dataset.kind": "folders"}, environment={"settings": settings})
    )
    assert card.data == ()
    assert "data set kind folders" in card.verdict
    assert "Nothing is known of the terms" in render_card(card)


def test_scores_have_intervals_around_them() -> None:
    (score,) = described(records()).scores
    measures = score.record.report.measures
    assert score.intervals.keys() == {"mAP", "mINP", "Rank-1", "Rank-5", "Rank-10"}
    for name, (low, high) in score.intervals.items():
        assert low <= measures[name] <= high
    low, high = score.intervals["mAP"]
    assert low < high
    assert described(records()).scores[0].intervals == score.intervals


def test_records_without_single_queries_give_scores_without_intervals() -> None:
    one = records()
    del one.reports["evaluation.queries"]
    card = described(one)
    assert card.scores[0].intervals == {}
    assert "in brackets" not in render_card(card)


def test_a_run_that_was_never_evaluated_says_so() -> None:
    assert "This run was not evaluated" in render_card(described(records(is_evaluated=False)))


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ("random", "the encoder began with random weights"),
        ("openai", "the encoder began with OpenAI's CLIP"),
        ("/home/me/tower.pth", "the encoder began with the file or tag tower.pth"),
        (None, "the encoder began with weights that are not recorded"),
    ],
)
def test_the_first_weights_are_said(weights: str | None, words: str) -> None:
    assert described(records(fingerprint={"encoder.weights": weights})).lineage == (words,)


def test_teacher_parent_and_prompts_are_ancestors_without_their_folders() -> None:
    settings = {"recipe": "tiny", "run": {"prompts": "/home/me/runs/prompts"}}
    parent = {"digest": "d1", "epochs": 3, "run": "/home/me/runs/first"}
    lineage = described(
        records(
            fingerprint={"teacher.weights": "strong"},
            environment={"settings": settings, "parent": parent},
        )
    ).lineage
    assert lineage[1:] == (
        "it learned from the descriptors of strong: a strong encoder (https://example.org/strong)",
        "strong: weights: MIT",
        "strong: trained on: Home",
        "strong: Home: for research only (https://example.org/home)",
        "it goes on from another run: run first, digest d1, epochs 3",
        "its prompts are those of the run prompts",
    )


def test_the_page_has_every_part_and_no_folder_of_the_machine() -> None:
    text = render_card(described(records(fingerprint={"encoder.weights": "/home/me/tower.pth"})))
    assert text.startswith("# Model card: one\n\n**Home is given out for research only")
    for part in (
        "`encoder.safetensors`, 1,234,567 bytes, SHA-256 `abc`",
        "parameters of the image tower: 98,765",
        "digest of the evaluated tensors: `weights`",
        "| people | 3 / 9 | standard | 60.00 (",
        "tiny, with other values of: `tiny.epochs = 2`",
        '- `encoder.weights = "tower.pth"`',
        "- torch 2.8",
        "- device: cpu",
    ):
        assert part in text
    assert "/home/me" not in text
    assert "open_clip" not in text


def test_records_kept_without_the_weights_say_so() -> None:
    text = render_card(described(records(), weights=None))
    assert "the weights are not beside these records" in text


def test_no_run_is_an_error() -> None:
    with pytest.raises(CheckpointError, match="memory/none"):
        described(FakeRunRecords("none"))
