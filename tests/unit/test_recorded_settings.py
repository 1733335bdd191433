"""What a run's recorded settings say beside its recipe."""

from pathlib import Path
from typing import Any

import pytest

from reid.container.evaluation import fingerprint_settings
from reid.domain.errors import CheckpointError, ConfigurationError
from reid.settings.loading import load_settings
from reid.settings.recipes import RECIPES
from reid.settings.recorded import departures_from_recipe, root_of_record, settings_of_record

pytestmark = pytest.mark.usefixtures("bare_environment")


def fingerprint(**options: Any) -> dict[str, Any]:
    named = {key.replace("__", "."): value for key, value in options.items()}
    return fingerprint_settings(load_settings(options=named).settings)


def test_a_recipe_as_it_stands_departs_from_nothing() -> None:
    for name in RECIPES:
        assert departures_from_recipe(name, fingerprint(recipe=name)) == ()


def test_changed_settings_are_named_and_places_are_not() -> None:
    changed = fingerprint(
        recipe="tiny",
        seed=7,
        encoder__weights="/home/me/w.pth",
        finetuning__epochs=60,
        finetuning__milestones=[20, 40],
    )
    assert departures_from_recipe("tiny", changed) == (
        "finetuning.epochs = 60",
        "finetuning.milestones = [20, 40]",
    )


def test_settings_and_recipes_that_this_version_lacks_are_left_out() -> None:
    known = fingerprint(recipe="tiny")
    del known["prompts.epochs"]
    assert departures_from_recipe("tiny", known | {"finetuning.magic": 3}) == ()
    assert departures_from_recipe("secret", {"encoder.kind": "rn50"}) == ()


def test_the_run_says_where_its_own_images_lie(tmp_path: Path) -> None:
    trained_with = {"dataset": {"root": "people"}}
    found = root_of_record(None, evaluation="evaluation-reranked", trained_with=trained_with)
    assert found == Path("people")
    given = root_of_record(tmp_path, evaluation="evaluation", trained_with=trained_with)
    assert given == tmp_path
    assert root_of_record(None, evaluation="evaluation", trained_with={}) is None
    with pytest.raises(ConfigurationError, match=r"its folder by `dataset\.root`"):
        root_of_record(None, evaluation="evaluation-on-x", trained_with=trained_with)


def test_recorded_settings_are_those_of_the_evaluation(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="records but no weights"):
        settings_of_record({}, directory=tmp_path, root=None, device="cpu")
    (tmp_path / "encoder.safetensors").write_bytes(b"")
    settings = settings_of_record(
        {"seed": 3, "encoder": {"precision": "bf16"}, "evaluation": {"rerank": True}},
        directory=tmp_path,
        root=Path("people"),
        device="cpu",
    )
    assert settings.seed == 3
    assert settings.encoder.weights == str(tmp_path / "encoder.safetensors")
    assert settings.encoder.precision == "bf16"
    assert settings.evaluation.rerank
    assert settings.dataset.root == Path("people")
    with pytest.raises(ConfigurationError, match=r"does not take: evaluation\.magic"):
        settings_of_record(
            {"evaluation": {"magic": 1}}, directory=tmp_path, root=None, device="cpu"
        )
