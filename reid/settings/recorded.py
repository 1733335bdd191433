"""Recorded settings: how to repeat an evaluation with them, and how they differ."""

import json
from collections.abc import Mapping
from pathlib import Path, PureWindowsPath
from typing import Any

from pydantic import ValidationError

from reid.domain.errors import CheckpointError, ConfigurationError
from reid.domain.values.evaluations import ELSEWHERE_PREFIX
from reid.domain.values.results import SettingChange
from reid.settings.loading import plain_settings, settings_of_recipe
from reid.settings.parents import ENCODER_FILE
from reid.settings.recipes import RECIPES
from reid.settings.schema import Settings

_SAID_ELSEWHERE = ("encoder.weights", "encoder.options", "encoder.training_precision")
"""Settings that may hold paths, and one that is recorded as resolved on the device."""


def settings_of_record(
    recorded: Mapping[str, Any], *, directory: Path, root: Path | None, device: str
) -> Settings:
    """Complete an evaluation's recorded settings by run, dataset root and device.

    Raises:
        CheckpointError: The run's folder holds no weights.
        ConfigurationError: This version does not know the recorded settings.
    """
    weights = directory / ENCODER_FILE
    if not weights.is_file():
        raise CheckpointError(
            f"{directory} holds records but no weights ({ENCODER_FILE} is missing): put them "
            "there to evaluate again"
        )
    named = {
        "encoder": {**recorded.get("encoder", {}), "weights": str(weights)},
        "dataset": {**recorded.get("dataset", {}), "root": root},
        "run": {"directory": directory},
        "device": device,
    }
    try:
        return Settings.model_validate({**recorded, **named})
    except ValidationError as error:
        names = sorted({".".join(map(str, found["loc"])) for found in error.errors()})
        raise ConfigurationError(
            f"the evaluation in {directory} was recorded with settings that this version does not "
            f"take: {', '.join(names)}; evaluate the run again"
        ) from error


def root_of_record(
    given: Path | None, *, evaluation: str, trained_with: Mapping[str, Any]
) -> Path | None:
    """Find the images of a recorded evaluation: those given, else those of the run's settings.

    Raises:
        ConfigurationError: The evaluation is of another dataset, whose root is not given.
    """
    if given is not None:
        return given
    if evaluation.startswith(ELSEWHERE_PREFIX):
        raise ConfigurationError(
            f"{evaluation} is of a dataset that the run was not trained on: name its folder by "
            "`dataset.root`"
        )
    root = trained_with.get("dataset", {}).get("root")
    return None if root is None else Path(root)


def departures_from_recipe(name: str, fingerprint: Mapping[str, Any]) -> tuple[str, ...]:
    """List a run's departures from its recipe, as `key = value`.

    Paths of weights, and settings that only one version knows, are left out; an unknown recipe
    has no departures.
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
    """List the settings of a run that differ from a baseline's.

    A setting that is missing in one of them has the value of the baseline's recipe there. Files are
    compared by name, not by path. Settings are by dotted name.
    """
    known = _recipe_settings(recipe)
    return tuple(
        SettingChange(key=key, before=old, after=new)
        for key in sorted(before.keys() | after.keys())
        if all(key in settings or key in known for settings in (before, after))
        for old, new in [[_as_json(key, {**known, **settings}) for settings in (before, after)]]
        if old != new
    )


def _recipe_settings(name: str) -> dict[str, Any]:
    """List a recipe's settings by dotted name; empty for an unknown recipe."""
    if name not in RECIPES:
        return {}
    recipe = plain_settings(settings_of_recipe(name))
    return {
        f"{section}.{key}": value
        for section in ("encoder", "prompts", "finetuning")
        for key, value in recipe[section].items()
    }


def _as_json(key: str, settings: Mapping[str, Any]) -> str:
    value = settings[key]
    is_file = key == "encoder.weights" and isinstance(value, str)
    return json.dumps(PureWindowsPath(value).name if is_file else value)
