"""Prompts that are learned, one per identity.

Letters: C identities, N prompts, A prefix tokens, M learned tokens, Z suffix tokens, D width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reid.domain.values.features import PromptEmbedding

_CONTEXT_STD = 0.02  # spread of CLIP's own token embeddings at their initialisation


class PromptLearner(nn.Module):
    """Learns M tokens per identity within a fixed template.

    Li et al. 2023, arXiv:2211.13977, section 3.2: "A photo of a [X]1 [X]2 [X]3 ... [X]M person."
    Parameter and buffers are named as in the authors' released checkpoints; differs from those: the
    suffix ends with the end token, because the causal mask hides what follows it.
    """

    token_prefix: Tensor  # (1, A, D) float32
    token_suffix: Tensor  # (1, Z, D) float32

    def __init__(
        self,
        embedding: PromptEmbedding,
        *,
        num_identities: int,
        num_context_tokens: int,
        generator: torch.Generator,
    ) -> None:
        """Draw the learned tokens from N(0, 0.02^2), on the generator's device.

        The module lives on the device of `embedding`, the template's fixed tokens.

        Raises:
            ValueError: No identity or no token to learn.
        """
        super().__init__()
        if num_identities < 1 or num_context_tokens < 1:
            raise ValueError(
                f"cannot learn {num_context_tokens} tokens for {num_identities} identities"
            )
        width = embedding.prefix.shape[1]
        context = torch.empty(
            num_identities, num_context_tokens, width, device=generator.device
        ).normal_(std=_CONTEXT_STD, generator=generator)  # (C, M, D)
        self.cls_ctx = nn.Parameter(context.to(embedding.prefix.device))
        self.register_buffer("token_prefix", embedding.prefix.detach().clone()[None])
        self.register_buffer("token_suffix", embedding.suffix.detach().clone()[None])

    @property
    def prefix(self) -> Tensor:
        """What all prompts begin with: (A, D) float32, constant."""
        return self.token_prefix[0]

    def forward(self, labels: Tensor) -> Tensor:
        """Assemble the prompts of some identities from the first learned token on.

        The prefix is left out because it is the same in all: an encoder reads it once.

        The lookup goes through `F.embedding` because the gradient of plain indexing is summed by
        several threads in any order, and two runs would differ in the last bits.

        Labels are (N,) int64 in 0..C-1, repetitions allowed.

        Returns:
            (N, M + Z, D) float32 token embeddings, differentiable in `cls_ctx`.
        """
        _, num_tokens, width = self.cls_ctx.shape
        context = F.embedding(labels, self.cls_ctx.flatten(start_dim=1))  # (N, M * D)
        suffix = self.token_suffix.expand(len(labels), -1, -1)  # (N, Z, D)
        return torch.cat([context.view(-1, num_tokens, width), suffix], dim=1)
