"""Merge the sources of settings, validate the result, word its problems, and tell what it is."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import SecretStr, ValidationError

from reid.domain.errors import CheckpointError, ConfigurationError
from reid.known_models import catalogue, default_model
from reid.settings.catalogue import known_sections, known_settings, types_of
from reid.settings.layers import (
    DEFAULT,
    NOTHING,
    OPTION,
    Given,
    Layers,
    Origin,
    OriginKind,
    environment_values,
    file_values,
    option_values,
    recipe_values,
)
from reid.settings.parents import ENCODER_FILE, parent_values
from reid.settings.recipes import recipe_for
from reid.settings.schema import WEIGHTS_BY_NAME, Settings

NOT_SHOWN = "<not shown>"

_NEVER_SHOWN = ("gallery.milvus.address",)
"""Settings that may hold a password but are not secrets by type."""

_PRIVATE = ("dataset.also", "gallery.tenant", "service.host")

_WORDS: Mapping[str, str] = {
    "extra_forbidden": "there is no such setting",
    "tuple_type": "should be a list in brackets, its values divided by commas",
    "missing": "should have more values",
    "too_long": "should have fewer values",
}
"""Messages for settings files in place of pydantic's, by error type."""


class SettingRow(NamedTuple):
    """A setting to display."""

    key: str
    value: object  # as in TOML and JSON; None if unset
    origin: Origin


@dataclass(frozen=True, slots=True)
class ResolvedSettings:
    """Settings, and the source of each value that is not a default."""

    settings: Settings
    origins: Mapping[str, Origin]

    def origin_of(self, key: str) -> Origin:
        """Return the source of a setting."""
        return self.origins.get(key, DEFAULT)

    def rows(self) -> list[SettingRow]:
        """List every setting in the order of the schema, with a row for each free option."""
        values = _entries(plain_settings(self.settings))
        return [SettingRow(key, value, self.origin_of(key)) for key, value in values]


def load_settings(
    *,
    config: Path | None = None,
    assignments: Sequence[str] = (),
    options: Mapping[str, object] | None = None,
    usual_recipe: str | None = None,
) -> ResolvedSettings:
    """Resolve defaults < recipe < parent run < TOML file < environment < options.

    Args:
        config: TOML file; None: the file in REID_CONFIG_FILE, if any.
        assignments: Texts `section.key=value`.
        options: Values by dotted name; None counts as not given.
        usual_recipe: Recipe if neither a recipe nor an encoder is named; None: the paper's.

    Raises:
        CheckpointError: There is no finished run where one is named as the parent.
        ConfigurationError: The file is missing or not TOML, or settings are unknown or out of
            range: a line `section.key: problem` for each.
    """
    sources = file_values(config), environment_values(), option_values(assignments, options or {})
    layers = Layers(chain(*sources))
    if layers.problems:
        raise ConfigurationError("\n".join(layers.problems))
    merged = _over_recipe(layers.values, usual=usual_recipe)
    return ResolvedSettings(
        settings=_validated(merged), origins={key: given.origin for key, given in merged.items()}
    )


def settings_of_recipe(name: str) -> Settings:
    """Return the unchanged settings of a recipe; an unknown one is a `ConfigurationError`."""
    return _validated(Layers(recipe_values(name)).values)


def _over_recipe(given: dict[str, Given], *, usual: str | None) -> dict[str, Given]:
    """Put values over those of the named recipe, else over those of the encoder's."""
    named, asked_by = given.pop("recipe", NOTHING)
    named, kind = _text_or_none(named), _text_or_none(given.get("encoder.kind", NOTHING).value)
    inherited = _inherited(given, is_recipe_named=named is not None)
    named = named or _text_or_none(inherited.pop("recipe", NOTHING).value)
    recipe = named or (recipe_for(kind) if kind or usual is None else usual)
    below = Layers(recipe_values(recipe, asked_by=asked_by)).values
    weights = given.get("encoder.weights", NOTHING).value
    if not (named or usual or kind) and weights not in (None, *WEIGHTS_BY_NAME):
        # No encoder is named: the weights file determines it, not the default recipe.
        del below["encoder.kind"]
    below["recipe"] = Given(recipe, asked_by if named else DEFAULT)
    return Layers(chain(below.items(), inherited.items(), given.items())).values


def _inherited(given: Mapping[str, Given], *, is_recipe_named: bool) -> dict[str, Given]:
    """Take over the parent's settings; only those of its encoder where a recipe is named."""
    parent = _text_or_none(given.get("run.parent", NOTHING).value)
    if parent is None:
        return {}
    if "encoder.weights" in given:
        raise ConfigurationError(
            "`run.parent` and `encoder.weights` name two encoders to start from: give one of them"
        )
    values = Layers(parent_values(Path(parent))).values
    if is_recipe_named:
        return {key: value for key, value in values.items() if key.startswith("encoder.")}
    return values


def _text_or_none(value: object) -> str | None:
    return None if value is None or str(value).lower() == "none" else str(value)


def _validated(given: Mapping[str, Given]) -> Settings:
    try:
        return Settings.model_validate(_nested(given))
    except ValidationError as error:
        raise ConfigurationError("\n".join(_problems_of(error, given))) from error


def _problems_of(error: ValidationError, given: Mapping[str, Given]) -> Iterator[str]:
    """Yield `section.key: expectation, got value (source)` for every invalid value."""
    found: dict[tuple[str, str], list[str]] = {}
    for details in error.errors():
        key = _known_part(details["loc"])
        message = details["msg"].removeprefix("Value error, ").replace("Input should", "should")
        place = _place_within(details["loc"], key)
        message = _WORDS.get(details["type"], message)
        if key in known_sections():
            # Recipes validate themselves; their messages begin with the name of the field.
            name, _, message = message.partition(" ")
            key = f"{key}.{name}"
        found.setdefault((key, place), []).append(message)
    for (key, place), messages in found.items():
        is_shown = key in given and SecretStr not in (types_of(key) or ())
        got = f", got {given[key].value!r}" if is_shown else ""
        # A value of several possible types is refused once for each.
        problem = ", or ".join(dict.fromkeys(messages))
        yield f"{key}{place}: {problem}{got}{_blame(key, given)}"


def _known_part(location: Sequence[int | str]) -> str:
    """Cut what pydantic appends to a setting: indices of lists, members of unions."""
    parts = [str(part) for part in location]
    names = [".".join(parts[:depth]) for depth in range(len(parts), 0, -1)]
    known = (name for name in names if name in known_settings() or name in known_sections())
    return next(known, ".".join(parts))


def _place_within(location: Sequence[int | str], key: str) -> str:
    """Format the place in a list of tables, `[0].root`; empty for plain lists."""
    place = location[key.count(".") + 1 :]
    if len(place) < 2 or not isinstance(place[0], int):
        return ""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)


def _blame(key: str, given: Mapping[str, Given]) -> str:
    """Name the source of a value or, for a default, the sources of its neighbours."""
    origin = given.get(key, NOTHING).origin
    section = key.rpartition(".")[0]
    if origin.is_chosen:
        return origin.blame
    neighbours = [
        f"{name} from {other}"
        for name, (_, other) in given.items()
        if section and name.startswith(f"{section}.") and other.is_chosen
    ]
    return f" ({'; '.join([str(origin), *neighbours])})"


def _nested(given: Mapping[str, Given]) -> dict[str, Any]:
    root: dict[str, Any] = {}
    for key, (value, _) in given.items():
        *sections, name = key.split(".")
        table = root
        for section in sections:
            table = table.setdefault(section, {})
        table[name] = value
    return root


def _entries(table: Mapping[str, Any], *, above: str = "") -> Iterator[tuple[str, object]]:
    """Yield the values of a table and of the tables in it, by dotted name."""
    for name, value in table.items():
        if isinstance(value, dict) and value:
            yield from _entries(value, above=f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def plain_settings(settings: Settings) -> dict[str, Any]:
    """Convert settings to JSON values, for a run's record."""
    return settings.model_dump(mode="json")


def with_trained_encoder(resolved: ResolvedSettings) -> Settings:
    """Use the run's encoder, which its file describes, unless weights are named.

    Where nothing is named and there is no run, the model that comes with the program is used.

    Raises:
        CheckpointError: No weights are named, the run has no trained encoder, and no model comes
            with the program or something else is asked for.
        ConfigurationError: The command line names both.
    """
    settings = resolved.settings
    weights, run = (resolved.origin_of(key) for key in ("encoder.weights", "run.directory"))
    if weights == run == OPTION:
        raise ConfigurationError(
            "`run.directory` and `encoder.weights` name two encoders: give one of them"
        )
    unsaid: dict[str, object] = {
        name: None
        for name in ("kind", "image_size", "stride")
        if not resolved.origin_of(f"encoder.{name}").is_chosen
    }
    # A run on the command line overrides weights in other sources.
    if run == OPTION or not weights.is_chosen:
        path = settings.run.directory / ENCODER_FILE
        unsaid["weights"] = str(path) if path.is_file() else _default_model(resolved)
    elif not settings.encoder.has_weights_file:
        return settings
    encoder = settings.encoder.model_copy(update=unsaid)
    return settings.model_copy(update={"encoder": encoder})


def _default_model(resolved: ResolvedSettings) -> str:
    """Name the model that comes with the program, where nothing else is asked for."""
    asked = ("run.directory", "encoder.kind", "recipe")
    entry = default_model()
    if entry is None or any(resolved.origin_of(key).is_chosen for key in asked):
        raise CheckpointError(
            f"{resolved.settings.run.directory} holds no trained encoder: train the encoder first, "
            "name its run by `run.directory`, or name weights by `encoder.weights` "
            "(`reid models list` shows some)"
        )
    return entry.name


def uses_run(settings: Settings) -> bool:
    """Whether the encoder is that of the run in the settings."""
    return settings.encoder.weights == str(settings.run.directory / ENCODER_FILE)


def told_settings(resolved: ResolvedSettings, *, shows_paths: bool) -> dict[str, str]:
    """List the recipe and every chosen setting with its value and source; never a password."""
    shown: dict[str, str] = {}
    for row in resolved.rows():
        if row.origin.is_chosen or row.key == "recipe":
            who = str(row.origin)
            if row.origin.kind is OriginKind.FILE and not shows_paths:
                who = f"{row.origin.kind} {Path(row.origin.name).name}"
            shown[row.key] = f"{_told_value(row, shows_paths=shows_paths)} ({who})"
    return shown


def _told_value(row: SettingRow, *, shows_paths: bool) -> str:
    types = types_of(row.key) or frozenset()
    if row.key in _NEVER_SHOWN or SecretStr in types:
        return NOT_SHOWN
    # Settings of plug-ins may hold anything.
    is_private = types & {Path, dict} or row.key in _PRIVATE
    if row.key == "encoder.weights":
        is_private = row.value not in (*WEIGHTS_BY_NAME, *catalogue().models)
    return NOT_SHOWN if is_private and not shows_paths else str(row.value)
