"""Text towers that open_clip built, fed with embeddings instead of words.

Letters: N prompts, L tokens, A of them the same in all prompts, T context length, D width.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from reid.adapters.encoders.text_encoder import PromptTower, template_tokens
from reid.domain.errors import EncoderError

Tokenize = Callable[[str], list[int]]
"""From a text to the token ids of a whole context: T, padding included."""


class OpenClipTextTower(PromptTower):
    """open_clip's text transformer in all its variants: causal or not, and pooled anywhere."""

    def __init__(self, text: Any, *, pool: str, tokenize: Tokenize | None) -> None:  # noqa: ANN401
        """Take the parts of a text tower.

        Args:
            text: A model of open_clip that has them, or its text tower.
            pool: Which token is read: `first`, `last` (of the whole context), or the end token.
            tokenize: The tokenizer of the model; None for CLIP's own.
        """
        super().__init__()
        self.token_embedding: nn.Embedding = text.token_embedding
        self.positional_embedding: nn.Parameter = text.positional_embedding
        self.transformer: nn.Module = text.transformer
        self.ln_final: nn.Module = text.ln_final
        self.text_projection: nn.Parameter | nn.Linear | None = text.text_projection
        self.cls_emb: nn.Parameter | None = getattr(text, "cls_emb", None)
        self.is_causal = text.attn_mask is not None
        self.pool, self.tokenize = pool, tokenize
        self.pads_cls_last = bool(getattr(text, "correct_cls_mask", False))

    @property
    def context_length(self) -> int:
        """Tokens of the longest prompt, without CoCa's own token behind them."""
        return len(self.positional_embedding) - (self.cls_emb is not None)

    @cached_property
    def pad_token(self) -> int:
        """What fills a context; CLIP's tokenizer pads with 0."""
        return 0 if self.tokenize is None else self.tokenize("a")[-1]

    def template_tokens(self, template: str) -> tuple[list[int], list[int]]:
        """Number the tokens before and after `{}`.

        A tokenizer of which nothing else is known shows them by two texts that differ there alone.
        """
        if self.tokenize is None:
            return template_tokens(template)
        one, other = (self._unpadded(template.replace("{}", word)) for word in ("x", "q"))
        return _common(one, other), _common(one[::-1], other[::-1])[::-1]

    def _unpadded(self, text: str) -> list[int]:
        assert self.tokenize is not None  # noqa: S101
        tokens = self.tokenize(text)
        while tokens and tokens[-1] == self.pad_token:
            tokens.pop()
        return tokens

    def forward(self, prompts: Tensor, prefix: Tensor) -> Tensor:
        """Encode prompts that end with the end token; see `PromptTower`.

        Where tokens see later ones, or the last one of the context is read, prompts are padded as
        the tokenizer would.
        """
        tokens = torch.cat([prefix.expand(len(prompts), -1, -1), prompts], dim=1)  # (N, L, D)
        length = tokens.shape[1]
        is_padded = not self.is_causal or self.cls_emb is not None or self.pool == "last"
        if is_padded:
            padding = self.token_embedding.weight[self.pad_token]  # (D,)
            missing = self.context_length - length
            tokens = torch.cat([tokens, padding.expand(len(tokens), missing, -1)], dim=1)
        if self.cls_emb is not None:
            tokens = torch.cat([tokens, self.cls_emb.expand(len(tokens), 1, -1)], dim=1)
        tokens = tokens + self.positional_embedding[: tokens.shape[1]]
        tokens = self.transformer(tokens, attn_mask=self._mask(tokens, length))
        # A LayerNorm treats each token alone, so only the one that is read needs it.
        read = {"first": 0, "last": -1}.get(self.pool, length - 1)
        final = self.ln_final(tokens[:, -1 if self.cls_emb is not None else read])  # (N, D)
        if isinstance(self.text_projection, nn.Linear):
            final = self.text_projection(final)
        elif self.text_projection is not None:
            final = final @ self.text_projection
        projected: Tensor = final.float()
        return projected

    def _mask(self, tokens: Tensor, length: int) -> Tensor | None:
        """Build what is added to attention: 0, or -inf where a token does not see another.

        CoCa's own token, behind the padding, sees no padding. Its released weights were trained
        with that mask shifted by one, which hides the token itself and shows one token of padding.
        """
        count = tokens.shape[1]
        hidden = torch.zeros(count, count, dtype=torch.bool, device=tokens.device)
        if self.is_causal:
            hidden = ~(~hidden).tril()
        if self.cls_emb is not None:
            place = torch.arange(count, device=tokens.device)
            is_seen = (place < length) | (place == count - 1)
            if not self.pads_cls_last:
                is_seen = is_seen.roll(1)
            hidden = hidden | ~is_seen
        if not hidden.any():
            return None
        return torch.zeros_like(hidden, dtype=tokens.dtype).masked_fill(hidden, float("-inf"))


def hub_tokenizer(name: str, create: Callable[[], Any]) -> Tokenize:
    """Return a tokenizer of Hugging Face that is created on its first use."""
    kept: list[Any] = []

    def tokenize(text: str) -> list[int]:
        if not kept:
            kept.append(_created(name, create))
        ids: list[int] = kept[0]([text])[0].tolist()
        return ids

    return tokenize


def _created(name: str, create: Callable[[], Any]) -> Any:  # noqa: ANN401
    try:
        return create()
    except (ImportError, OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise EncoderError(
            f"{name} has a tokenizer of its own, which prompts need, and it cannot be had "
            f"({reason}): pip install transformers sentencepiece, let it be downloaded once "
            f"(open_clip.get_tokenizer({name!r})), or train without prompts "
            "(finetuning.image_to_text_weight = 0)"
        ) from error


def _common(one: list[int], other: list[int]) -> list[int]:
    """Return what two sequences begin with."""
    differing = (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    return one[: next(differing, min(len(one), len(other)))]
