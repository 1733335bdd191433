"""Names of all settings, and the types of each one's value."""

import types
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from difflib import get_close_matches
from functools import cache
from typing import Annotated, Any, TypeAlias, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel

from reid.settings.schema import Settings

Types: TypeAlias = frozenset[object]
"""Types of a value, without None and parameters; `dict` means a table of free options."""


@cache
def known_settings() -> Mapping[str, Types]:
    """Map every setting's dotted name to the types of its value, in the order of the schema."""
    return dict(_settings_in(Settings, prefix=""))


@cache
def known_sections() -> frozenset[str]:
    """Return the dotted names of all tables."""
    parts = [name.split(".") for name in known_settings()]
    return frozenset(".".join(names[:depth]) for names in parts for depth in range(1, len(names)))


def types_of(key: str) -> Types | None:
    """Return the types of a setting, `dict` for a free option, or None for an unknown name."""
    known = known_settings()
    tables = (name for name, kinds in known.items() if dict in kinds)
    is_option = any(key.startswith(f"{table}.") for table in tables)
    return known.get(key, frozenset({dict}) if is_option else None)


def nearest_known(key: str) -> str | None:
    """Return the setting or section that `key` most likely misspells."""
    candidates = [*known_settings(), *known_sections()]
    if close := get_close_matches(key, candidates, n=1, cutoff=0.6):
        return close[0]
    last = key.rpartition(".")[2]
    same_name = [name for name in known_settings() if name.rpartition(".")[2] == last]
    return same_name[0] if len(same_name) == 1 else None


def _settings_in(section: type, *, prefix: str) -> Iterator[tuple[str, Types]]:
    if issubclass(section, BaseModel):
        fields = {name: field.annotation for name, field in section.model_fields.items()}
    else:
        fields = get_type_hints(section)
    for name, annotation in fields.items():
        if is_dataclass(annotation) or (
            isinstance(annotation, type) and issubclass(annotation, BaseModel)
        ):
            yield from _settings_in(annotation, prefix=f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", _plain_types(annotation)


def _plain_types(annotation: Any) -> Types:  # noqa: ANN401  (an annotation can be anything)
    if get_origin(annotation) is Annotated:
        return _plain_types(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return frozenset().union(*map(_plain_types, get_args(annotation))) - {type(None)}
    return frozenset({get_origin(annotation) or annotation})
