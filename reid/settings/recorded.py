"""What recorded settings mean: for doing an evaluation again, and beside their recipe."""

import json
from collections.abc import Mapping
from pathlib import Path, PureWindowsPath
from typing import Any

from pydantic import ValidationError

from reid.domain.errors import CheckpointError, ConfigurationError
from reid.domain.values.evaluations import ELSEWHERE_PREFIX
from reid.domain.values.results import SettingChange
from reid.settings.loading import plain_settings, settings_of_recipe
from reid.settings.recipes import RECIPES
from reid.settings.schema import Settings
from reid.settings.trained import ENCODER_FILE

_SAID_ELSEWHERE = ("encoder.weights", "encoder.options", "encoder.training_precision")
"""Settings that may hold paths, and one that is recorded as what it came to on the device."""


def settings_of_record(
    recorded: Mapping[str, Any], *, directory: Path, root: Path | None, device: str
) -> Settings:
    """Complete an evaluation's recorded settings with what a record leaves open.

    Args:
        recorded: As `evaluation_settings` of the assembly listed them.
        directory: The run whose encoder is evaluated.
        root: Where the images lie.
        device: What to compute on.

    Raises:
        CheckpointError: The run's folder holds no weights.
        ConfigurationError: The record names settings that this version does not know.
    """
    weights = directory / ENCODER_FILE
    if not weights.is_file():
        raise CheckpointError(
            f"{directory} holds records but no weights ({ENCODER_FILE} is missing): put them "
            "there to evaluate again"
        )
    values = dict(recorded)
    values["encoder"] = {**recorded.get("encoder", {}), "weights": str(weights)}
    values["dataset"] = {**recorded.get("dataset", {}), "root": root}
    values["run"] = {"directory": directory}
    try:
        return Settings.model_validate({**values, "device": device})
    except ValidationError as error:
        names = sorted({".".join(map(str, found["loc"])) for found in error.errors()})
        raise ConfigurationError(
            f"the evaluation in {directory} was recorded with settings that this version does not "
            f"take: {', '.join(names)}; evaluate the run anew"
        ) from error


def root_of_record(
    given: Path | None, *, evaluation: str, trained_with: Mapping[str, Any]
) -> Path | None:
    """Find the images of a recorded evaluation.

    Args:
        given: What the user said, which is right.
        evaluation: Name of the record.
        trained_with: The run's own settings, whose dataset is right where the evaluation is of it.

    Raises:
        ConfigurationError: Nobody says where the images lie.
    """
    if given is not None:
        return given
    if evaluation.startswith(ELSEWHERE_PREFIX):
        raise ConfigurationError(
            f"{evaluation} is of another dataset than the run was trained on: name its folder by "
            "`dataset.root`"
        )
    root = trained_with.get("dataset", {}).get("root")
    return None if root is None else Path(root)


def departures_from_recipe(name: str, fingerprint: Mapping[str, Any]) -> tuple[str, ...]:
    """List what a run's settings changed of its recipe, as `key = value`.

    Where weights lie is no departure; settings that only one version knows are left out.

    Args:
        name: Of the recipe; one that this version does not know has no departures.
        fingerprint: The run's settings by dotted name, of what it trained.
    """
    unchanged = _recipe_settings(name)
    return tuple(
        f"{key} = {json.dumps(value)}"
        for key, value in fingerprint.items()
        if key in unchanged and value != unchanged[key] and key not in _SAID_ELSEWHERE
    )


def changed_settings(
    recipe: str, before: Mapping[str, Any], after: Mapping[str, Any]
) -> tuple[SettingChange, ...]:
    """List what is other in a run's settings than in a baseline's.

    A setting that one of the two versions did not know yet has the recipe's value there. Of files
    the names are compared, not where they lie.

    Args:
        recipe: Name of the baseline's.
        before: The baseline's fingerprint settings by dotted name.
        after: The run's.
    """
    known = _recipe_settings(recipe)
    return tuple(
        SettingChange(key=key, before=old, after=new)
        for key in sorted(before.keys() | after.keys())
        if all(key in settings or key in known for settings in (before, after))
        for old, new in [[_in_words(key, {**known, **settings}) for settings in (before, after)]]
        if old != new
    )


def _recipe_settings(name: str) -> dict[str, Any]:
    """List a recipe's settings by dotted name; none of a recipe that this version lacks."""
    if name not in RECIPES:
        return {}
    recipe = plain_settings(settings_of_recipe(name))
    return {
        f"{section}.{key}": value
        for section in ("encoder", "prompts", "finetuning")
        for key, value in recipe[section].items()
    }


def _in_words(key: str, settings: Mapping[str, Any]) -> str:
    value = settings[key]
    is_file = key == "encoder.weights" and isinstance(value, str)
    return json.dumps(PureWindowsPath(value).name if is_file else value)
