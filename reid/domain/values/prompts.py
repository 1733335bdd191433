"""The fixed part of a prompt."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class PromptEmbedding:
    """Token embeddings on both sides of the learned tokens.

    CLIP-ReID, section 3.2: "A photo of a [X]1 [X]2 [X]3 ... [X]M person."
    """

    prefix: Tensor
    """(A, D) float32: start token, "a photo of a"."""

    suffix: Tensor
    """(Z, D) float32: "person", ".", end token."""
