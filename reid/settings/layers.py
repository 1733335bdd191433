"""Sources of settings (recipe, file, environment and options), and how they override each other."""

import os
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple, TypeAlias

from pydantic import SecretStr
from pydantic_settings import EnvSettingsSource

from reid.domain.errors import ConfigurationError
from reid.settings.catalogue import known_sections, nearest_known, types_of
from reid.settings.recipes import RECIPES
from reid.settings.schema import ENVIRONMENT_DELIMITER, ENVIRONMENT_PREFIX, Settings
from reid.small_files import MOST_SETTINGS_BYTES, parse_json, read_bounded

CONFIG_FILE_VARIABLE = "REID_CONFIG_FILE"
VERSION_KEY = "version"
SETTINGS_VERSION = 1  # version of settings files; a file without a version has the first

NOT_SETTINGS = (
    CONFIG_FILE_VARIABLE,
    "REID_MARKET1501_ROOT",
    "REID_MARKET1501_FEATURES",
    "REID_PUBLIC_DATASETS",
)
"""Variables with the prefix that are not settings, but paths for the program and the tests."""


class OriginKind(StrEnum):
    """Kinds of sources, weakest first."""

    DEFAULT = "default"
    RECIPE = "recipe"
    PARENT = "parent run"
    FILE = "file"
    ENVIRONMENT = "environment"
    OPTION = "option"


@dataclass(frozen=True, slots=True)
class Origin:
    """The source of a value."""

    kind: OriginKind = OriginKind.DEFAULT
    name: str = ""  # recipe, path or variable; may be empty

    @property
    def is_chosen(self) -> bool:
        """Whether the user set it, in a file, the environment or an option."""
        return self.kind in (OriginKind.FILE, OriginKind.ENVIRONMENT, OriginKind.OPTION)

    @property
    def blame(self) -> str:
        """Format as ` (environment REID_SEED)`; empty for an option, which the user just gave."""
        return "" if self.kind is OriginKind.OPTION else f" ({self})"

    def __str__(self) -> str:
        """Format as `environment REID_SEED`."""
        return f"{self.kind} {self.name}".rstrip()


DEFAULT = Origin()
OPTION = Origin(OriginKind.OPTION)


class Given(NamedTuple):
    """A value and its source."""

    value: object
    origin: Origin


NOTHING = Given(None, DEFAULT)
Source: TypeAlias = Iterable[tuple[str, Given]]  # values, or tables of values, by dotted name


class Layers:
    """Values by dotted name, later ones over earlier ones, and problems."""

    def __init__(self, source: Source) -> None:
        """Merge the values of a source, key by key."""
        self.values: dict[str, Given] = {}
        self.problems: list[str] = []
        for key, given in source:
            self._add(key, given)

    def _add(self, key: str, given: Given) -> None:
        value, origin = given
        types, is_section = types_of(key), key in known_sections()
        if isinstance(value, Mapping) and (is_section or dict in (types or ())):
            for name, entry in value.items():
                if "." in name:
                    self._refuse(key, f"a name cannot hold a dot, got {name!r}", origin)
                else:
                    self._add(f"{key}.{name}", Given(entry, origin))
        elif is_section:
            self._refuse(key, "is a table of settings, not a value", origin)
        elif types is None:
            nearest = nearest_known(key.replace(" ", ""))
            meant = f"did you mean {nearest}?" if nearest else "`reid settings` lists all of them"
            self._refuse(key, f"there is no such setting; {meant}", origin)
        else:
            apart = {  # a value replaces those of its table, and a table's
                name: value
                for name, value in self.values.items()
                if not f"{name}.".startswith(f"{key}.") and not f"{key}.".startswith(f"{name}.")
            }
            self.values = {**apart, key: given}

    def _refuse(self, key: str, problem: str, origin: Origin) -> None:
        self.problems.append(f"{key}: {problem}{origin.blame}")


def recipe_values(name: str, *, asked_by: Origin = DEFAULT) -> Source:
    """Yield the values of a recipe, which `asked_by` named."""
    if name not in RECIPES:
        raise ConfigurationError(
            f"recipe: there is no recipe {name!r}; the recipes are "
            f"{', '.join(RECIPES)}{asked_by.blame}"
        )
    for key, value in RECIPES[name].items():
        yield key, Given(value, Origin(OriginKind.RECIPE, name))


def file_values(path: Path | None) -> Source:
    """Yield the values of a TOML file; None: of the one that REID_CONFIG_FILE names, if any."""
    cause = ""
    if path is None:
        if not (named := os.environ.get(CONFIG_FILE_VARIABLE)):
            return
        path, cause = Path(named), f" ({CONFIG_FILE_VARIABLE} names it)"
    if path.is_dir():
        raise ConfigurationError(f"settings file {path} is a folder; name a TOML file{cause}")
    if not path.is_file():
        raise ConfigurationError(f"settings file {path} does not exist{cause}")
    try:
        content = tomllib.loads(read_bounded(path, most_bytes=MOST_SETTINGS_BYTES).decode())
    except (ValueError, OSError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise ConfigurationError(f"settings file {path} cannot be read: {reason}") from error
    _check_version(content.pop(VERSION_KEY, SETTINGS_VERSION), path)
    for key, value in content.items():
        yield key, Given(value, Origin(OriginKind.FILE, str(path)))


def _check_version(found: object, path: Path) -> None:
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        raise ConfigurationError(f"settings file {path}: {VERSION_KEY} is not a version: {found!r}")
    if found > SETTINGS_VERSION:
        raise ConfigurationError(
            f"settings file {path} is of version {found}, and this program reads up to version "
            f"{SETTINGS_VERSION}: use the program that it was written for, or a newer one"
        )


def environment_values() -> Source:
    """Yield the values of variables of the form `REID_SECTION__KEY`."""
    for name, text in EnvSettingsSource(Settings, case_sensitive=True).env_vars.items():
        if name.startswith(ENVIRONMENT_PREFIX) and name not in NOT_SETTINGS and text is not None:
            path = name.removeprefix(ENVIRONMENT_PREFIX).lower().split(ENVIRONMENT_DELIMITER)
            key = ".".join(path)
            yield key, Given(_parsed(key, text), Origin(OriginKind.ENVIRONMENT, name))


def option_values(assignments: Sequence[str], options: Mapping[str, object]) -> Source:
    """Yield the values of the command line: texts `section.key=value`, then those of options.

    Values are written as in TOML, and quotes may be left out; None counts as not given.
    """
    for assignment in assignments:
        key, equals, text = (part.strip() for part in assignment.partition("="))
        if not (key and equals):
            raise ConfigurationError(f"{assignment}: should be written section.key=value")
        yield key, Given(_parsed(key, text), OPTION)
    for key, value in options.items():
        if value is not None:
            yield key, Given(value, OPTION)


def _parsed(key: str, text: str) -> object:
    types = types_of(key)
    is_text = types is not None and types <= {str, Path, SecretStr}
    return text if is_text else parse_text(text)


def parse_text(text: str) -> object:
    """Parse a TOML value, else a JSON value, else return the text."""
    with suppress(tomllib.TOMLDecodeError, RecursionError):
        document = tomllib.loads(f"value = {text}")
        value = document["value"]
        if len(document) == 1 and isinstance(value, bool | int | float | str | list | dict):
            return value
    with suppress(ValueError):
        return parse_json(text) if text.startswith(("{", "[")) else text
    return text
