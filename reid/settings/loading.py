"""Merge the layers of settings, validate the result, and keep the source of each value."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from reid.domain.errors import ConfigurationError
from reid.settings.catalogue import known_settings
from reid.settings.layers import (
    CONFIG_FILE_VARIABLE,
    DEFAULT,
    Layer,
    Origin,
    environment_layer,
    file_layer,
    option_layer,
    recipe_layer,
)
from reid.settings.problems import problems_of
from reid.settings.recipes import recipe_for
from reid.settings.schema import WEIGHTS_BY_NAME, Settings


@dataclass(frozen=True, slots=True)
class SettingRow:
    """A setting to display."""

    key: str
    value: object
    """As in TOML and JSON; None if unset."""

    origin: Origin


@dataclass(frozen=True, slots=True)
class ResolvedSettings:
    """Settings, and the source of each value that is not a default."""

    settings: Settings
    origins: Mapping[str, Origin]

    def origin_of(self, key: str) -> Origin:
        """Return the source of a setting."""
        return self.origins.get(key, DEFAULT)

    def rows(self) -> tuple[SettingRow, ...]:
        """List every setting in the order of the schema."""
        plain = self.settings.model_dump(mode="json")
        return tuple(
            SettingRow(key=key, value=value, origin=self.origin_of(key))
            for name in known_settings()
            for key, value in _entries(name, _value_at(plain, name))
        )


def load_settings(
    *,
    config: Path | None = None,
    assignments: Sequence[str] = (),
    options: Mapping[str, object] | None = None,
    usual_recipe: str | None = None,
) -> ResolvedSettings:
    """Resolve defaults < recipe < TOML file < environment < options.

    Args:
        config: TOML file; None: the file in REID_CONFIG_FILE, if any.
        assignments: Texts `section.key=value`.
        options: Values by dotted name; None counts as not given.
        usual_recipe: Recipe if neither a recipe nor an encoder is named; None: the paper's.

    Raises:
        ConfigurationError: The file is missing or not TOML, or settings are unknown or out of
            range: a line `section.key: problem` for each.
    """
    given = Layer()
    if config is not None:
        given.update(file_layer(config))
    elif path := os.environ.get(CONFIG_FILE_VARIABLE):
        given.update(file_layer(Path(path), named_by=CONFIG_FILE_VARIABLE))
    given.update(environment_layer())
    given.update(option_layer(assignments, options or {}))
    if given.problems:
        raise ConfigurationError("\n".join(given.problems))
    merged = _recipe_below(given, usual=usual_recipe)
    merged.update(given)
    return ResolvedSettings(settings=_validated(merged), origins=merged.origins)


def settings_of_recipe(name: str) -> Settings:
    """Return the unchanged settings of a recipe.

    Raises:
        ConfigurationError: There is no recipe of that name.
    """
    return _validated(recipe_layer(name))


def _recipe_below(given: Layer, *, usual: str | None) -> Layer:
    """Return the layer of the named recipe, else that of the encoder."""
    named = _text_or_none(given.values.pop("recipe", None))
    origin = given.origins.pop("recipe", DEFAULT)
    kind = _text_or_none(given.values.get("encoder.kind"))
    going = recipe_for(kind) if kind or usual is None else usual
    layer = recipe_layer(named or going, asked_by=origin)
    weights = given.values.get("encoder.weights", WEIGHTS_BY_NAME[0])
    if named is None and usual is None and kind is None and weights not in WEIGHTS_BY_NAME:
        # No encoder is named: the weights file determines it, not the default recipe.
        del layer.values["encoder.kind"], layer.origins["encoder.kind"]
    layer.values["recipe"] = named or going
    layer.origins["recipe"] = origin if named else DEFAULT
    return layer


def _text_or_none(value: object) -> str | None:
    return None if value is None or str(value).lower() == "none" else str(value)


def _validated(merged: Layer) -> Settings:
    try:
        return Settings.model_validate(_nested(merged.values))
    except ValidationError as error:
        raise ConfigurationError("\n".join(problems_of(error, merged))) from error


def _nested(values: Mapping[str, object]) -> dict[str, Any]:
    root: dict[str, Any] = {}
    for key, value in values.items():
        *sections, name = key.split(".")
        table = root
        for section in sections:
            table = table.setdefault(section, {})
        table[name] = value
    return root


def _value_at(plain: Mapping[str, Any], key: str) -> object:
    value: Any = plain
    for name in key.split("."):
        value = value[name]
    return value


def _entries(key: str, value: object) -> Iterator[tuple[str, object]]:
    """Yield a row for each entry of a table of options."""
    if isinstance(value, dict) and value:
        for name, entry in value.items():
            yield from _entries(f"{key}.{name}", entry)
    else:
        yield key, value


def plain_settings(settings: Settings) -> dict[str, Any]:
    """Convert settings to JSON values, for a run's record."""
    return settings.model_dump(mode="json")
