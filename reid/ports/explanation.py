"""Encoders that can be explained."""

from typing import Protocol, runtime_checkable

from torch import Tensor

from reid.domain.values.explanations import ImageTrace
from reid.ports.image_encoder import ImageEncoder


@runtime_checkable
class ExplainableEncoder(ImageEncoder, Protocol):
    """An image encoder that exposes the attention or map behind its features."""

    def trace_images(self, images: Tensor, camids: Tensor | None = None) -> ImageTrace:
        """Describe images, and trace the attention or the map that their features come from.

        Works under `torch.no_grad` too, in evaluation mode, and whether or not the weights require
        gradients; no gradient is left at them.

        Args:
            images: As `encode_images` takes them.
            camids: Likewise.

        Returns:
            A trace whose features, in float32, are those of `encode_images` but for rounding.

        Raises:
            EncoderError: A camera beyond those the encoder knows.
        """
