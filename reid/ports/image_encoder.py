"""Encoders of images, and the place where one is exported to.

Letters: B batch, H W pixels.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor, nn

from reid.domain.values.encoders import EncoderDescription, EncoderGeometry
from reid.domain.values.explanations import ImageTrace
from reid.domain.values.features import ImageFeatures
from reid.domain.values.json_values import JsonValue
from reid.ports.text_encoder import TextEncoder


class ImageEncoder(Protocol):
    """Describes images; all that ranking needs."""

    @property
    def geometry(self) -> EncoderGeometry:
        """Sizes and pixel statistics, fixed for the encoder's life."""

    @property
    def description(self) -> EncoderDescription:
        """Name and origin of the weights."""

    @property
    def device(self) -> torch.device:
        """Device of inputs and outputs."""

    def encode_images(self, images: Tensor, camids: Tensor | None = None) -> ImageFeatures:
        """Describe images.

        Args:
            images: (B, 3, H, W) float32 on `device`, normalised with the geometry's pixel
                statistics, of the geometry's size.
            camids: (B,) int64 zero-based cameras, on the CPU or on `device`; None, or an encoder
                without camera embeddings, leaves cameras out.

        Returns:
            Float32 features on `device`.

        Raises:
            EncoderError: A camera beyond those the encoder knows.
        """


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


@runtime_checkable
class FrozenEncoder(ImageEncoder, Protocol):
    """An image encoder that cannot be trained, because something else executes it."""

    @property
    def weights_digest(self) -> str:
        """Digest of the image tower that it was made from, as `digest_of` computes it."""


class TrainableEncoder(ImageEncoder, Protocol):
    """An image encoder that can be trained, perhaps with a text encoder of the same space.

    Image features are differentiable in the image tower's parameters. A new encoder is in
    evaluation mode and every parameter requires a gradient; a caller that switches to training mode
    switches back.
    """

    @property
    def text(self) -> TextEncoder | None:
        """The text tower; None where the weights or this kind of encoder have none.

        Without one there are no prompts to learn, and the image tower trains without them.
        """

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield the image tower's parameters in a stable order, under the names of `state`."""

    def set_training(self, *, enabled: bool) -> None:
        """Switch the image tower between training mode (batch statistics) and evaluation mode."""

    def state(self) -> Mapping[str, Tensor]:
        """All of the image tower's parameters and buffers, by name, detached."""

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Replace the image tower's parameters and buffers.

        Raises:
            EncoderError: A name is missing or unknown, or a shape differs; nothing is changed then.
        """


Encoder: TypeAlias = TrainableEncoder | FrozenEncoder  # what a factory of encoders returns

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
