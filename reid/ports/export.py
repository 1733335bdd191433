"""The place of an encoder that is exported for another runtime."""

from collections.abc import Mapping
from typing import Protocol

from reid.domain.values.checkpoints import JsonValue
from reid.ports.image_encoder import ImageEncoder


class ExportPlace(Protocol):
    """One encoder's place: written to one side first, then kept as a whole or not at all."""

    @property
    def precision(self) -> str:
        """Precision of the runtime: `fp32`, or `bf16` where the processor has it."""
        ...

    def write(self, encoder: ImageEncoder) -> ImageEncoder:
        """Write an encoder, in float32 on the CPU, to one side.

        Returns:
            What was written, opened as it will be for use.

        Raises:
            ConfigurationError: The runtime is not installed, or does not know the precision.
            EncoderError: The place is taken or cannot be written, or this kind of encoder cannot be
                exported.
        """
        ...

    def keep(self, record: Mapping[str, JsonValue]) -> None:
        """Move what was written to its place, with a record of its deviations.

        Raises:
            EncoderError: The place cannot be written.
        """
        ...

    def discard(self) -> None:
        """Delete what was written to one side; does nothing after `keep`."""
        ...
