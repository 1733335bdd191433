"""A step of stage 1 as the paper's code takes it.

Every image's prompt is padded to 77 tokens and goes through the text encoder by itself, and the
text encoder's weights are not frozen, so that gradients to all of them are computed and never used.

Letters: B batch, C identities, D token width, E width of the shared space.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.plain.exported import run_block
from reid.adapters.encoders.text_encoder import TextTower
from reid.domain.values.features import PromptEmbedding

CONTEXT_LENGTH = 77


class PlainStageOne:
    """Learned tokens and their optimiser."""

    def __init__(self, tower: TextTower, embedding: PromptEmbedding, *, context: Tensor) -> None:
        """Take a (C, 4, D) start for the learned tokens."""
        self._tower = tower
        self.context = nn.Parameter(context.clone())
        num_tokens = len(embedding.prefix) + context.shape[1] + len(embedding.suffix)
        self._end = num_tokens - 1
        padding = context.new_zeros(CONTEXT_LENGTH - num_tokens, context.shape[2])
        self._prefix = embedding.prefix
        self._suffix = torch.cat([embedding.suffix, padding])
        self._optimizer = torch.optim.Adam([self.context], lr=3.5e-4, weight_decay=1e-4)

    def texts(self, labels: Tensor) -> Tensor:
        """Describe one prompt per image: (B, E)."""
        count, tower = len(labels), self._tower
        prompts = torch.cat(
            [
                self._prefix.expand(count, -1, -1),
                self.context[labels],
                self._suffix.expand(count, -1, -1),
            ],
            dim=1,
        )  # (B, 77, D)
        mask = torch.full((CONTEXT_LENGTH, CONTEXT_LENGTH), float("-inf")).triu(1)
        tokens = prompts + tower.positional_embedding
        for block in tower.transformer.blocks:
            tokens = run_block(block, tokens, mask)
        described: Tensor = tower.ln_final(tokens)[:, self._end] @ tower.text_projection
        return described

    def step(self, images: Tensor, labels: Tensor) -> None:
        """Move the learned tokens by one batch of (B, E) image features."""
        texts = self.texts(labels)
        loss = _contrast(images, texts, labels) + _contrast(texts, images, labels)
        self._optimizer.zero_grad()
        torch.autograd.backward(loss)
        self._optimizer.step()


def _contrast(anchors: Tensor, others: Tensor, labels: Tensor) -> Tensor:
    scores = anchors @ others.T
    shares = F.log_softmax(scores - scores.detach().max(dim=1, keepdim=True).values, dim=1)
    is_positive = (labels[:, None] == labels[None, :]).float()
    return -((is_positive * shares).sum(dim=1) / is_positive.sum(dim=1)).mean()
