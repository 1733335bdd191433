"""The place of an encoder that is exported for another runtime."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Protocol, TypeAlias

from reid.domain.values.json_values import JsonValue
from reid.ports.image_encoder import ImageEncoder

Keep: TypeAlias = Callable[[Mapping[str, JsonValue]], None]
"""Moves what was written to its place, with a record of its deviations.

It raises EncoderError where the place cannot be written.
"""


class ExportPlace(Protocol):
    """One encoder's place, which gets the whole encoder or nothing."""

    @property
    def precision(self) -> str:
        """Precision of the runtime: `fp32`, or `bf16` where the processor has it."""

    def write(self, encoder: ImageEncoder) -> AbstractContextManager[tuple[ImageEncoder, Keep]]:
        """Write an encoder, in float32 on the CPU, to one side.

        Returns:
            A context with what was written, opened as it will be for use, and the function that
            keeps it. Whatever is not kept is deleted at its end.

        Raises:
            ConfigurationError: The runtime is not installed, or does not know the precision.
            EncoderError: The place is taken or cannot be written, or this kind of encoder cannot be
                exported.
        """
