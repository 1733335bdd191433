"""CLIP's text encoder, fed with embeddings instead of words.

Letters: N prompts, L tokens, A of them the same in all prompts, D width, H heads, d = D / H.
"""

from functools import cache

import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from open_clip.tokenizer import SimpleTokenizer
from open_clip.transformer import ResidualAttentionBlock
from torch import Tensor, nn

from reid.adapters.encoders.attention import attend_from, conclude, project
from reid.adapters.encoders.image_towers import name_parts_as_openai


class TextTower(nn.Module):
    """The text half of a CLIP model."""

    token_embedding: nn.Embedding | None
    """None where a weights file has the transformer, but not the vocabulary."""

    def __init__(self, clip: CLIP) -> None:
        """Take the text encoder's parts out of open_clip's model."""
        super().__init__()
        name_parts_as_openai(clip.transformer.resblocks)
        self.positional_embedding = clip.positional_embedding
        self.text_projection = clip.text_projection
        self.transformer = clip.transformer
        self.token_embedding = clip.token_embedding
        self.ln_final = clip.ln_final

    def forward(self, prompts: Tensor, prefix: Tensor) -> Tensor:
        """Describe prompts that end with the end token.

        The mask is causal: no token sees what follows it. So whatever all prompts begin with looks
        the same in each of them, and runs once for all; the others look back at its keys and
        values. Of the last block only the end token is read.

        Args:
            prompts: (N, L - A, D) float32 token embeddings without positions.
            prefix: (A, D) float32 likewise, what stands before each of them; A may be 0.

        Returns:
            (N, projected width) float32.
        """
        start, length = len(prefix), len(prefix) + prompts.shape[1]
        shared = (prefix + self.positional_embedding[:start])[None]  # (1, A, D)
        tokens = prompts + self.positional_embedding[start:length]  # (N, L - A, D)
        sees = torch.ones(length - start, length, dtype=torch.bool, device=prompts.device)
        sees = sees.tril(start)  # token i of a prompt, A + i of all
        *blocks, last = self.transformer.resblocks
        for block in blocks:
            shared, tokens = _advance(block, shared, tokens, sees=sees)
        tokens = torch.cat([shared.expand(len(tokens), -1, -1), tokens], dim=1)  # (N, L, D)
        final = self.ln_final(attend_from(last, tokens, -1))  # (N, D)
        projected: Tensor = (final @ self.text_projection).float()
        return projected


def _advance(
    block: ResidualAttentionBlock, shared: Tensor, tokens: Tensor, *, sees: Tensor
) -> tuple[Tensor, Tensor]:
    """Run a block over the (1, A, D) start of all prompts and their (N, L - A, D) remainders."""
    common, own = project(block, shared), project(block, tokens)
    every = (len(tokens), -1, -1, -1)
    keys = torch.cat([common.keys.expand(every), own.keys], dim=2)  # (N, H, L, d)
    values = torch.cat([common.values.expand(every), own.values], dim=2)
    beginning = F.scaled_dot_product_attention(
        common.queries, common.keys, common.values, is_causal=True
    )
    remainder = F.scaled_dot_product_attention(own.queries, keys, values, attn_mask=sees)
    return conclude(block, shared, beginning), conclude(block, tokens, remainder)


@cache
def _tokenizer() -> SimpleTokenizer:
    return SimpleTokenizer()


def template_tokens(template: str) -> tuple[list[int], list[int]]:
    """Number the tokens on both sides of `{}`.

    Returns:
        Start token and what precedes `{}`; what follows it and the end token.
    """
    before, after = template.split("{}")
    tokenizer = _tokenizer()
    prefix = [tokenizer.sot_token_id, *tokenizer.encode(before)]
    return prefix, [*tokenizer.encode(after), tokenizer.eot_token_id]
