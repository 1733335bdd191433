"""Merge the layers, check the result once, and remember who set what."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from reid.domain.errors import ConfigurationError
from reid.settings.catalogue import known_sections, known_settings
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
from reid.settings.recipes import recipe_for
from reid.settings.schema import WEIGHTS_BY_NAME, Settings


@dataclass(frozen=True, slots=True)
class SettingRow:
    """One setting for the eye."""

    key: str
    value: object
    """As TOML and JSON would write it; None where unset."""

    origin: Origin


@dataclass(frozen=True, slots=True)
class ResolvedSettings:
    """Settings, and for every one that is not a default who set it."""

    settings: Settings
    origins: Mapping[str, Origin]

    def origin_of(self, key: str) -> Origin:
        """Say who set a dotted name."""
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
        config: TOML file; None: the one that REID_CONFIG_FILE names, if any.
        assignments: `section.key=value` each.
        options: Values by dotted name; None counts as not given.
        usual_recipe: Start from this one where neither a recipe nor an encoder is named; None: from
            the paper's.

    Raises:
        ConfigurationError: A line `section.key: problem` for everything unknown or out of range;
            or the file is missing or not TOML.
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
    """Return a recipe as it stands, nobody having changed anything.

    Raises:
        ConfigurationError: No recipe of that name.
    """
    return _validated(recipe_layer(name))


def _recipe_below(given: Layer, *, usual: str | None) -> Layer:
    """Start from the recipe that was named, else from the one that goes with the encoder."""
    named = _text_or_none(given.values.pop("recipe", None))
    origin = given.origins.pop("recipe", DEFAULT)
    kind = _text_or_none(given.values.get("encoder.kind"))
    going = recipe_for(kind) if kind or usual is None else usual
    layer = recipe_layer(named or going, asked_by=origin)
    weights = given.values.get("encoder.weights", WEIGHTS_BY_NAME[0])
    if named is None and usual is None and kind is None and weights not in WEIGHTS_BY_NAME:
        # Nobody named an encoder: the weights file knows better than a default recipe.
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
        raise ConfigurationError("\n".join(_problems(error, merged))) from error


def _nested(values: Mapping[str, object]) -> dict[str, Any]:
    root: dict[str, Any] = {}
    for key, value in values.items():
        *sections, name = key.split(".")
        table = root
        for section in sections:
            table = table.setdefault(section, {})
        table[name] = value
    return root


_WORDS: Mapping[str, str] = {
    "extra_forbidden": "there is no such setting",
    "tuple_type": "should be a list in brackets, its values divided by commas",
    "missing": "should have more values",
    "too_long": "should have fewer values",
}
"""What pydantic says in Python's words, by the type of its error, in a settings file's."""


def _problems(error: ValidationError, merged: Layer) -> Iterator[str]:
    found: dict[tuple[str, str], list[str]] = {}
    for details in error.errors():
        key = _known_part(details["loc"])
        message = details["msg"].removeprefix("Value error, ").replace("Input should", "should")
        place = _place_within(details["loc"], key)
        message = _WORDS.get(details["type"], message)
        if key in known_sections():
            # Recipes check themselves and begin their message with the name of the field.
            name, _, message = message.partition(" ")
            key = f"{key}.{name}"
        found.setdefault((key, place), []).append(message)
    for (key, place), messages in found.items():
        got = f", got {merged.values[key]!r}" if _is_shown(key, merged) else ""
        # A value that may be of several kinds is refused once for each.
        told = ", or ".join(dict.fromkeys(messages))
        yield f"{key}{place}: {told}{got} ({_blame(key, merged)})"


def _is_shown(key: str, merged: Layer) -> bool:
    leaf = known_settings().get(key)
    return key in merged.values and not (leaf is not None and leaf.is_secret)


def _known_part(location: Sequence[int | str]) -> str:
    """Cut what pydantic adds below a setting: places in a list, members of a union."""
    parts = [str(part) for part in location]
    names = [".".join(parts[:depth]) for depth in range(len(parts), 0, -1)]
    known = (name for name in names if name in known_settings() or name in known_sections())
    return next(known, ".".join(parts))


def _place_within(location: Sequence[int | str], key: str) -> str:
    """Show where in a list of tables a value stands: `[0].root`; empty for plain lists."""
    place = location[key.count(".") + 1 :]
    if len(place) < 2 or not isinstance(place[0], int):
        return ""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)


def _blame(key: str, merged: Layer) -> str:
    """Say who set a value, or, where nobody did, who set its neighbours that it fails beside."""
    origin = merged.origins.get(key, DEFAULT)
    if origin.is_chosen:
        return str(origin)
    section = key.rpartition(".")[0]
    neighbours = [
        f"{name} from {other}"
        for name, other in merged.origins.items()
        if section and name.startswith(f"{section}.") and other.is_chosen
    ]
    return "; ".join([str(origin), *neighbours])


def _value_at(plain: Mapping[str, Any], key: str) -> object:
    value: Any = plain
    for name in key.split("."):
        value = value[name]
    return value


def _entries(key: str, value: object) -> Iterator[tuple[str, object]]:
    """Spread a table of options over one row per entry."""
    if isinstance(value, dict) and value:
        for name, entry in value.items():
            yield from _entries(f"{key}.{name}", entry)
    else:
        yield key, value


def plain_settings(settings: Settings) -> dict[str, Any]:
    """Turn settings into what JSON can hold, for a run's record."""
    return settings.model_dump(mode="json")
