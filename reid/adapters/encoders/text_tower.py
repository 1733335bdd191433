"""CLIP's text encoder, fed with embeddings instead of words.

Letters: N prompts, L tokens, D width.
"""

from functools import cache

import torch
from open_clip.model import CLIP
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor, nn

from reid.adapters.encoders.image_towers import attend_from, name_parts_as_openai


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

    def forward(self, prompts: Tensor) -> Tensor:
        """Describe prompts that end with the end token.

        Args:
            prompts: (N, L, D) float32 token embeddings without positions.

        Returns:
            (N, projected width) float32.
        """
        length = prompts.shape[1]
        mask = torch.full((length, length), float("-inf"), device=prompts.device).triu(1)
        tokens = prompts + self.positional_embedding[:length]
        *blocks, last = self.transformer.resblocks
        for block in blocks:
            tokens = block(tokens, attn_mask=mask)
        # The end token may look at all tokens, so the last block needs no mask.
        final = self.ln_final(attend_from(last, tokens, -1))  # (N, D)
        projected: Tensor = (final @ self.text_projection).float()
        return projected


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
