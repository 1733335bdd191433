"""Sources of settings: recipe, file, environment and options, each a flat layer."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from pydantic_settings import EnvSettingsSource

from reid.domain.errors import ConfigurationError
from reid.settings.catalogue import (
    known_sections,
    known_settings,
    nearest_known,
    open_setting_above,
)
from reid.settings.recipes import RECIPES
from reid.settings.schema import ENVIRONMENT_DELIMITER, ENVIRONMENT_PREFIX, Settings
from reid.small_files import MOST_SETTINGS_BYTES, parse_json, read_bounded

CONFIG_FILE_VARIABLE = "REID_CONFIG_FILE"
VERSION_KEY = "version"
SETTINGS_VERSION = 1
"""Version of settings files; a file without a version has the first."""

NOT_SETTINGS = frozenset(
    {
        CONFIG_FILE_VARIABLE,
        "REID_MARKET1501_ROOT",
        "REID_MARKET1501_FEATURES",
        "REID_PUBLIC_DATASETS",
    }
)
"""Variables with the prefix that are not settings, but paths for the program and the tests."""


class OriginKind(StrEnum):
    """Kinds of layers, weakest first."""

    DEFAULT = "default"
    RECIPE = "recipe"
    FILE = "file"
    ENVIRONMENT = "environment"
    OPTION = "option"


@dataclass(frozen=True, slots=True)
class Origin:
    """The source of a value."""

    kind: OriginKind = OriginKind.DEFAULT
    name: str = ""
    """Recipe, path or variable; may be empty."""

    @property
    def is_chosen(self) -> bool:
        """Whether the user set it, in a file, the environment or an option."""
        return self.kind not in (OriginKind.DEFAULT, OriginKind.RECIPE)

    def __str__(self) -> str:
        """Format as `environment REID_SEED`."""
        return f"{self.kind} {self.name}".rstrip()


DEFAULT = Origin()
OPTION = Origin(OriginKind.OPTION)


@dataclass(slots=True)
class Layer:
    """Values by dotted name, the source of each, and problems."""

    values: dict[str, object] = field(default_factory=dict)
    origins: dict[str, Origin] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def add(self, key: str, value: object, *, origin: Origin) -> None:
        """Add a value, or a table of values, under a dotted name."""
        if key in known_sections() or (_is_open(key) and isinstance(value, Mapping)):
            self._add_table(key, value, origin=origin)
        elif key in known_settings() or open_setting_above(key):
            self._set(key, value, origin=origin)
        else:
            self.problems.append(f"{key}: {_unknown(key)} ({origin})")

    def add_text(self, key: str, text: str, *, origin: Origin) -> None:
        """Add a value that is given as text, as in options and the environment."""
        leaf = known_settings().get(key)
        self.add(key, text if leaf and leaf.is_text else parse_text(text), origin=origin)

    def update(self, stronger: "Layer") -> None:
        """Override values by those of a stronger layer, key by key."""
        for key, value in stronger.values.items():
            self._set(key, value, origin=stronger.origins[key])
        self.problems.extend(stronger.problems)

    def _add_table(self, key: str, value: object, *, origin: Origin) -> None:
        if not isinstance(value, Mapping):
            self.problems.append(f"{key}: is a table of settings, not a value ({origin})")
            return
        for name, entry in value.items():
            if "." in name:
                self.problems.append(f"{key}: a name cannot hold a dot, got {name!r} ({origin})")
            else:
                self.add(f"{key}.{name}", entry, origin=origin)

    def _set(self, key: str, value: object, *, origin: Origin) -> None:
        for other in [name for name in self.values if _overlap(name, key)]:
            del self.values[other], self.origins[other]
        self.values[key] = value
        self.origins[key] = origin


def recipe_layer(name: str, *, asked_by: Origin = DEFAULT) -> Layer:
    """Collect the values of a recipe, which `asked_by` named.

    Raises:
        ConfigurationError: There is no recipe of that name.
    """
    if name not in RECIPES:
        raise ConfigurationError(
            f"recipe: there is no recipe {name!r}; the recipes are "
            f"{', '.join(RECIPES)} ({asked_by})"
        )
    layer = Layer()
    for key, value in RECIPES[name].items():
        layer.add(key, value, origin=Origin(OriginKind.RECIPE, name))
    return layer


def file_layer(path: Path, *, named_by: str = "") -> Layer:
    """Collect the values of a TOML file; `named_by` is the variable that names it, if any.

    Raises:
        ConfigurationError: It is missing, a folder, unreadable, not TOML, or of a newer version.
    """
    cause = f" ({named_by} names it)" if named_by else ""
    if path.is_dir():
        raise ConfigurationError(f"settings file {path} is a folder; name a TOML file{cause}")
    if not path.is_file():
        raise ConfigurationError(f"settings file {path} does not exist{cause}")
    try:
        content = tomllib.loads(read_bounded(path, most_bytes=MOST_SETTINGS_BYTES))
    except RecursionError as error:
        raise ConfigurationError(
            f"settings file {path} cannot be read: it is nested too deeply"
        ) from error
    except (ValueError, OSError) as error:
        raise ConfigurationError(f"settings file {path} cannot be read: {error}") from error
    layer = Layer()
    _check_version(content.pop(VERSION_KEY, SETTINGS_VERSION), path)
    for key, value in content.items():
        layer.add(key, value, origin=Origin(OriginKind.FILE, str(path)))
    return layer


def _check_version(found: object, path: Path) -> None:
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        raise ConfigurationError(f"settings file {path}: {VERSION_KEY} is not a version: {found!r}")
    if found > SETTINGS_VERSION:
        raise ConfigurationError(
            f"settings file {path} is of version {found}, and this program reads up to version "
            f"{SETTINGS_VERSION}: use the program that it was written for, or a newer one"
        )


def environment_layer() -> Layer:
    """Collect the values of variables of the form `REID_SECTION__KEY`."""
    layer = Layer()
    for name, text in EnvSettingsSource(Settings, case_sensitive=True).env_vars.items():
        if not name.startswith(ENVIRONMENT_PREFIX) or name in NOT_SETTINGS or text is None:
            continue
        origin = Origin(OriginKind.ENVIRONMENT, name)
        path = name.removeprefix(ENVIRONMENT_PREFIX).lower().split(ENVIRONMENT_DELIMITER)
        layer.add_text(".".join(path), text, origin=origin)
    return layer


def option_layer(assignments: Sequence[str], options: Mapping[str, object]) -> Layer:
    """Collect the values of the command line.

    Args:
        assignments: Texts `section.key=value`, with values as in TOML; quotes may be left out.
        options: Values by dotted name, which override assignments; None counts as not given.
    """
    layer = Layer()
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if equals and key.strip():
            layer.add_text(key.strip(), text.strip(), origin=OPTION)
        else:
            layer.problems.append(f"{assignment}: should be written section.key=value ({OPTION})")
    for key, value in options.items():
        if value is not None:
            layer.add(key, value, origin=OPTION)
    return layer


def parse_text(text: str) -> object:
    """Parse a TOML value, else a JSON value, else return the text."""
    try:
        document = tomllib.loads(f"value = {text}")
    except (tomllib.TOMLDecodeError, RecursionError):
        document = {}
    value = document.get("value")
    if len(document) == 1 and isinstance(value, bool | int | float | str | list | dict):
        return value
    try:
        return parse_json(text) if text.startswith(("{", "[")) else text
    except ValueError:
        return text


def _is_open(key: str) -> bool:
    leaf = known_settings().get(key)
    return leaf.is_open if leaf else open_setting_above(key) is not None


def _overlap(one: str, other: str) -> bool:
    """Whether the names are equal or one contains the other."""
    return f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}.")


def _unknown(key: str) -> str:
    nearest = nearest_known(key.replace(" ", ""))
    meant = f"; did you mean {nearest}?" if nearest else "; `reid settings` lists all of them"
    return f"there is no such setting{meant}"
