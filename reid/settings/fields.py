"""Types of settings and of their tables."""

import re
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue

from reid.domain.values.durations import parse_duration, parse_time

_Value = TypeVar("_Value")


def _unset(value: object) -> object:
    """Read `none` as no value, which TOML and the environment cannot express otherwise."""
    return None if isinstance(value, str) and value.lower() == "none" else value


def _checked_duration(text: str) -> str:
    parse_duration(text)
    return text


def _checked_device(name: str) -> str:
    if re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", name) is None:
        raise ValueError("should be auto, cpu, mps, cuda or cuda:N")
    return name


Unsettable = Annotated[_Value | None, BeforeValidator(_unset)]
Moment = Annotated[str, AfterValidator(parse_time)]
Device = Annotated[str, AfterValidator(_checked_device)]
Duration = Annotated[str, AfterValidator(_checked_duration)]
Name = Annotated[str, Field(min_length=1)]
Options = dict[str, JsonValue]
Count = Annotated[int, Field(ge=1, lt=2**31)]  # libraries count in C integers


class Section(BaseModel):
    """A table of settings."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True
    )


class ByKind(Section):
    """An adapter by name; its settings are in a section of that name, else in `options`."""

    kind: Name

    @property
    def kind_options(self) -> dict[str, Any] | None:
        """Settings in the section of this kind; None if it has no section."""
        section = getattr(self, self.kind, None)
        return dict(section) if isinstance(section, Section) else None
