"""Names of all settings, and the kind of value of each."""

import types
from collections.abc import Mapping
from dataclasses import dataclass, is_dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, SecretStr

from reid.settings.schema import Settings


@dataclass(frozen=True, slots=True)
class Leaf:
    """A setting of the schema."""

    is_open: bool
    """Whether it is a table of free options."""

    is_text: bool
    """Whether it is a text or a path, so that `7` is text and not a number."""

    is_secret: bool = False
    """Whether its value is never shown."""

    is_path: bool = False
    """Whether it is a path on the user's machine."""


@cache
def known_settings() -> Mapping[str, Leaf]:
    """Map every setting's dotted name to its kind of value, in the order of the schema."""
    return dict(_leaves(Settings, prefix=""))


@cache
def known_sections() -> frozenset[str]:
    """Return the dotted names of all tables."""
    return frozenset(
        ".".join(parts[:depth])
        for parts in (name.split(".") for name in known_settings())
        for depth in range(1, len(parts))
    )


def open_setting_above(key: str) -> str | None:
    """Return the table of free options that contains `key`, if any."""
    for name, leaf in known_settings().items():
        if leaf.is_open and key.startswith(f"{name}."):
            return name
    return None


def nearest_known(key: str) -> str | None:
    """Return the setting or section that `key` most likely misspells."""
    candidates = [*known_settings(), *known_sections()]
    close = get_close_matches(key, candidates, n=1, cutoff=0.6)
    if close:
        return close[0]
    last = key.rpartition(".")[2]
    same_name = [name for name in known_settings() if name.rpartition(".")[2] == last]
    return same_name[0] if len(same_name) == 1 else None


def _leaves(section: type, *, prefix: str) -> list[tuple[str, Leaf]]:
    found: list[tuple[str, Leaf]] = []
    for name, annotation in _fields(section).items():
        if isinstance(annotation, type) and _is_section(annotation):
            found.extend(_leaves(annotation, prefix=f"{prefix}{name}."))
        else:
            kinds = _plain_types(annotation)
            leaf = Leaf(
                is_open=dict in kinds,
                is_text=kinds <= {str, Path, SecretStr},
                is_secret=SecretStr in kinds,
                is_path=Path in kinds,
            )
            found.append((f"{prefix}{name}", leaf))
    return found


def _fields(section: type) -> Mapping[str, Any]:
    if issubclass(section, BaseModel):
        return {name: field.annotation for name, field in section.model_fields.items()}
    return get_type_hints(section)


def _is_section(annotation: type) -> bool:
    return is_dataclass(annotation) or (
        get_origin(annotation) is None and issubclass(annotation, BaseModel)
    )


def _plain_types(annotation: Any) -> set[object]:  # noqa: ANN401  (an annotation can be anything)
    """Strip `Annotated`, parameters and None from an annotation."""
    if get_origin(annotation) is Annotated:
        return _plain_types(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        members = [member for member in get_args(annotation) if member is not type(None)]
        return set().union(*(_plain_types(member) for member in members))
    return {get_origin(annotation) or annotation}
