"""Where an encoder goes that another runtime is to execute."""

from collections.abc import Mapping
from typing import Protocol

from reid.domain.values.checkpoints import JsonValue
from reid.ports.image_encoder import ImageEncoder


class ExportPlace(Protocol):
    """One encoder's place: written aside first, then kept as a whole or not at all."""

    @property
    def precision(self) -> str:
        """What the runtime computes in: `fp32`, or `bf16` where the processor has it."""
        ...

    def write(self, encoder: ImageEncoder) -> ImageEncoder:
        """Write an encoder aside.

        Args:
            encoder: In float32 on the CPU.

        Returns:
            What was written, opened again as it will be for use.

        Raises:
            ConfigurationError: The runtime is not installed, or does not know the precision.
            EncoderError: The place is taken or cannot be written, or this kind of encoder cannot be
                exported.
        """
        ...

    def keep(self, record: Mapping[str, JsonValue]) -> None:
        """Put what was written in its place, with a record of how it compared.

        Raises:
            EncoderError: The place cannot be written.
        """
        ...

    def discard(self) -> None:
        """Delete what was written aside; nothing happens after `keep`."""
        ...
