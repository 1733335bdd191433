"""CLIP's two towers.

Letters: B batch, H W pixels, D width, N prompts, L tokens, A prefix tokens, M learned tokens.
"""

from collections.abc import Iterator, Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

from reid.domain.values.encoders import EncoderDescription, EncoderGeometry, Tower
from reid.domain.values.features import ImageFeatures
from reid.domain.values.prompts import PromptEmbedding


class ImageEncoder(Protocol):
    """Describes pictures; all that ranking needs."""

    @property
    def geometry(self) -> EncoderGeometry:
        """Sizes and pixel statistics, fixed for the encoder's life."""
        ...

    @property
    def description(self) -> EncoderDescription:
        """Name and origin of the weights."""
        ...

    @property
    def device(self) -> torch.device:
        """Where inputs must lie and outputs appear."""
        ...

    def encode_images(self, images: Tensor, camids: Tensor | None = None) -> ImageFeatures:
        """Describe pictures.

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
        ...


class Encoder(ImageEncoder, Protocol):
    """An image encoder and a text encoder that meet in one space and can learn.

    Image features are differentiable in the image tower's parameters. Fresh from its factory it is
    in evaluation mode and every parameter requires a gradient; whoever switches to training mode
    switches back.
    """

    def embed_template(self, template: str, *, num_context_tokens: int) -> PromptEmbedding:
        """Look up the fixed tokens of a template such as "A photo of a {} person.".

        Args:
            template: Text in which `{}` stands for the learned tokens.
            num_context_tokens: M, how many tokens will be learned.

        Returns:
            Embeddings of what stands before the learned tokens, start token included, and of what
            stands after them up to and including the end token; without gradient.

        Raises:
            EncoderError: The prompt is longer than the context.
        """
        ...

    def encode_prompts(self, prompts: Tensor, *, prefix: Tensor | None = None) -> Tensor:
        """Describe prompts.

        The causal mask hides what follows the end token, so prompts stop there: equal to padding
        them to the full context, and cheaper. It also hides from their common beginning what
        follows it, so an encoder may run that once for all.

        Args:
            prompts: (N, L, D) float32 token embeddings without positions, the end token last.
            prefix: (A, D) float32 likewise: what stands before each of `prompts`; None where they
                are whole.

        Returns:
            (N, projected width) float32, not normalised, differentiable in `prompts`, `prefix` and
            the text tower's parameters.

        Raises:
            EncoderError: Prefix and prompts together are longer than the context.
        """
        ...

    def named_parameters_of(self, tower: Tower) -> Iterator[tuple[str, nn.Parameter]]:
        """Walk a tower's parameters in a stable order, under the names of `state_of`."""
        ...

    def set_training(self, *, enabled: bool) -> None:
        """Switch the image tower between training mode (batch statistics) and evaluation mode."""
        ...

    def state_of(self, tower: Tower) -> Mapping[str, Tensor]:
        """All of a tower's parameters and buffers, by name, detached."""
        ...

    def load_state_of(self, tower: Tower, state: Mapping[str, Tensor]) -> None:
        """Replace a tower's parameters and buffers.

        Raises:
            EncoderError: A name is missing or unknown, or a shape differs; nothing is changed then.
        """
        ...
