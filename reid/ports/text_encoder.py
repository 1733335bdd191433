"""Encoders of prompts.

Letters: D width, N prompts, L tokens, A prefix tokens, M learned tokens.
"""

from collections.abc import Iterator
from typing import Protocol

from torch import Tensor, nn

from reid.domain.values.features import PromptEmbedding


class TextEncoder(Protocol):
    """The text tower of an encoder; its features lie in the space of projected image features.

    It is always in evaluation mode, on its encoder's device.
    """

    @property
    def token_width(self) -> int:
        """D, width of token embeddings."""

    @property
    def context_length(self) -> int:
        """Tokens of the longest prompt."""

    def embed_template(self, template: str, *, num_context_tokens: int) -> PromptEmbedding:
        """Look up the fixed tokens of a template such as "A photo of a {} person.".

        Args:
            template: Text in which `{}` stands for the learned tokens.
            num_context_tokens: M, how many tokens will be learned.

        Returns:
            Embeddings of the tokens before the learned ones, start token included, and of those
            after them up to and including the end token; without gradient.

        Raises:
            EncoderError: The prompt is longer than the context, or the weights have no vocabulary.
        """

    def encode_prompts(self, prompts: Tensor, *, prefix: Tensor | None = None) -> Tensor:
        """Describe prompts.

        The causal mask hides what follows the end token, so prompts stop there: this equals padding
        them to the full context, and is cheaper. The mask also hides from the common prefix what
        follows it, so an encoder may run the prefix once for all.

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

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield the parameters in a stable order."""
