"""CLIP's text tower, fed with embeddings instead of words.

Letters: N prompts, L tokens, A of them the same in all prompts, D width, H heads, d = D / H.
"""

from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reid.adapters.encoders.architecture import TextConfiguration
from reid.adapters.encoders.blocks import Block, LayerNorm, Transformer
from reid.domain.errors import EncoderError
from reid.domain.values.counts import counted
from reid.domain.values.encoders import Activation
from reid.domain.values.features import PromptEmbedding

TEXT_PREFIX = "text_encoder."
"""Begins the names of a text tower's weights, as in the paper's released checkpoints."""

_KNOWN_TOKENS = {"A photo of a {} person.": ([49406, 320, 1125, 539, 320], [2533, 269, 49407])}
"""Tokens of the default template: open_clip's tokenizer takes seconds to import."""


class PromptTower(nn.Module):
    """The text half of a model, as far as prompts need it; a family subclasses it."""

    token_embedding: nn.Embedding | None
    """None where a weights file has the transformer, but not the vocabulary."""
    positional_embedding: nn.Parameter  # a row for each token

    @property
    def context_length(self) -> int:
        """Tokens of the longest prompt."""
        return len(self.positional_embedding)

    def template_tokens(self, template: str) -> tuple[list[int], list[int]]:
        """Number the tokens before `{}`, start token included, and after it, end token included."""
        return template_tokens(template)

    def forward(self, prompts: Tensor, prefix: Tensor) -> Tensor:
        """Encode prompts that end with the end token.

        From (N, L - A, D) float32 token embeddings without positions, and the (A, D) of what all
        prompts begin with (A may be 0), to (N, projected width) float32.
        """
        raise NotImplementedError


class TextTower(PromptTower):
    """The text half of a CLIP model."""

    def __init__(
        self, configuration: TextConfiguration, *, out_width: int, activation: Activation
    ) -> None:
        """Draw all weights, in open_clip's order; `out_width` is that of the images' space."""
        super().__init__()
        width = configuration.width
        token_embedding = nn.Embedding(configuration.vocabulary_size, width)
        self.positional_embedding = nn.Parameter(torch.empty(configuration.context_length, width))
        self.text_projection = nn.Parameter(torch.empty(width, out_width))
        self.transformer = Transformer(
            width,
            num_layers=configuration.layers,
            head_width=configuration.head_width,
            activation=activation,
        )
        self.token_embedding = token_embedding
        self.ln_final = LayerNorm(width)
        self._initialise(token_embedding)

    def _initialise(self, token_embedding: nn.Embedding) -> None:
        """Draw from the distributions of Radford et al. 2021, arXiv:2103.00020."""
        width, blocks = len(self.text_projection), self.transformer.blocks
        nn.init.normal_(token_embedding.weight, std=0.02)
        nn.init.normal_(self.positional_embedding, std=0.01)
        for block in blocks:
            nn.init.normal_(block.attn.in_proj_weight, std=width**-0.5)
            nn.init.normal_(
                block.attn.out_proj.weight, std=(width**-0.5) * ((2 * len(blocks)) ** -0.5)
            )
            widen, narrow = (layer for layer in block.mlp if isinstance(layer, nn.Linear))
            nn.init.normal_(widen.weight, std=(2 * width) ** -0.5)
            nn.init.normal_(narrow.weight, std=(width**-0.5) * ((2 * len(blocks)) ** -0.5))
        nn.init.normal_(self.text_projection, std=width**-0.5)

    def forward(self, prompts: Tensor, prefix: Tensor) -> Tensor:
        """Encode prompts that end with the end token.

        The mask is causal: no token sees later ones. A common prefix is therefore encoded once, and
        the other tokens attend to its keys and values. Of the last block only the end token is
        read.
        """
        start, length = len(prefix), len(prefix) + prompts.shape[1]
        shared = (prefix + self.positional_embedding[:start])[None]  # (1, A, D)
        tokens = prompts + self.positional_embedding[start:length]  # (N, L - A, D)
        sees = torch.ones(length - start, length, dtype=torch.bool, device=prompts.device)
        sees = sees.tril(start)  # token i of a prompt, A + i of all
        *blocks, last = self.transformer.blocks
        for block in blocks:
            shared, tokens = _advance(block, shared, tokens, sees=sees)
        tokens = torch.cat([shared.expand(len(tokens), -1, -1), tokens], dim=1)  # (N, L, D)
        final = self.ln_final(last.follow(tokens, -1))  # (N, D)
        projected: Tensor = (final @ self.text_projection).float()
        return projected


@dataclass(frozen=True, slots=True, eq=False)
class ClipTextEncoder:
    """A text tower behind the text encoder's port."""

    tower: PromptTower
    weights: str  # their name, for messages
    _: KW_ONLY
    is_mixed_precision: bool  # runs the tower under bfloat16 autocast

    @property
    def token_width(self) -> int:
        """Width of token embeddings."""
        return self.tower.positional_embedding.shape[1]

    @property
    def context_length(self) -> int:
        """Tokens of the longest prompt."""
        return self.tower.context_length

    def embed_template(self, template: str, *, num_context_tokens: int) -> PromptEmbedding:
        """Look up the fixed tokens of a template; see the port."""
        if template.count("{}") != 1:
            raise ValueError(f"template {template!r} must hold {{}} exactly once")
        embedding = self.tower.token_embedding
        if embedding is None:
            raise EncoderError(
                f"encoder.weights: {self.weights} hold no token embeddings, so prompts cannot be "
                "learned; take the text tower from elsewhere (encoder.text_weights = openai, or a "
                "file), or train without prompts (finetuning.image_to_text_weight = 0)"
            )
        prefix, suffix = self.tower.template_tokens(template)
        length = len(prefix) + num_context_tokens + len(suffix)
        if length > self.context_length:
            learned = counted(num_context_tokens, "learned token")
            raise EncoderError(
                f"prompts.template: {template!r} with {learned} has {length} tokens, but CLIP "
                f"reads {self.context_length}; shorten it"
            )
        tokens = torch.tensor(prefix + suffix, device=embedding.weight.device)
        embedded = embedding(tokens).detach().clone()  # (A + Z, D)
        return PromptEmbedding(prefix=embedded[: len(prefix)], suffix=embedded[len(prefix) :])

    def encode_prompts(self, prompts: Tensor, *, prefix: Tensor | None = None) -> Tensor:
        """Encode prompts; see the port."""
        if prompts.ndim != 3 or prompts.shape[2] != self.token_width:
            raise ValueError(
                f"prompts must be (N, L, {self.token_width}), got {tuple(prompts.shape)}"
            )
        if prefix is None:
            prefix = prompts.new_empty(0, prompts.shape[2])
        length = len(prefix) + prompts.shape[1]
        if length > self.context_length:
            raise EncoderError(f"prompts of {length} tokens: CLIP reads {self.context_length}")
        device = self.tower.positional_embedding.device.type
        with torch.autocast(device, dtype=torch.bfloat16, enabled=self.is_mixed_precision):
            features: Tensor = self.tower(prompts, prefix)
        return features

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Walk the parameters; see the port."""
        return self.tower.named_parameters(prefix=TEXT_PREFIX.removesuffix("."))


def _advance(
    block: Block, shared: Tensor, tokens: Tensor, *, sees: Tensor
) -> tuple[Tensor, Tensor]:
    """Run a block over the (1, A, D) start of all prompts and their (N, L - A, D) remainders."""
    common, own = block.project(shared), block.project(tokens)
    every = (len(tokens), -1, -1, -1)
    keys = torch.cat([common.keys.expand(every), own.keys], dim=2)  # (N, H, L, d)
    values = torch.cat([common.values.expand(every), own.values], dim=2)
    beginning = F.scaled_dot_product_attention(
        common.queries, common.keys, common.values, is_causal=True
    )
    remainder = F.scaled_dot_product_attention(own.queries, keys, values, attn_mask=sees)
    return block.conclude(shared, beginning), block.conclude(tokens, remainder)


@cache
def template_tokens(template: str) -> tuple[list[int], list[int]]:
    """Number the tokens before `{}`, start token included, and after it, end token included."""
    if template in _KNOWN_TOKENS:
        return _KNOWN_TOKENS[template]
    from open_clip.tokenizer import SimpleTokenizer

    before, after = template.split("{}")
    tokenizer = SimpleTokenizer()
    prefix = [tokenizer.sot_token_id, *tokenizer.encode(before)]
    return prefix, [*tokenizer.encode(after), tokenizer.eot_token_id]
