"""What JSON can hold; of its own, so that who needs no more than this imports no torch."""

from typing import TypeAlias

JsonValue: TypeAlias = "str | int | float | bool | list[JsonValue] | dict[str, JsonValue] | None"
