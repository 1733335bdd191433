"""What training leaves behind."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from torch import Tensor

JsonValue: TypeAlias = "str | int | float | bool | list[JsonValue] | dict[str, JsonValue] | None"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Named tensors and a header that says what they are."""

    tensors: Mapping[str, Tensor]
    header: Mapping[str, JsonValue] = field(default_factory=dict)
