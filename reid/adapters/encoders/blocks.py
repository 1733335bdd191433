"""CLIP's transformer block, which computes only the positions that are read.

Vaswani et al. 2017, arXiv:1706.03762, eq. 1: softmax(q k^T / sqrt(d)) v in every head. Parameters
are named, and walked, as in OpenAI's code and the paper's checkpoints.

Letters: B sequences, L tokens, D width, H heads, d = D / H, s an attended token.
"""

from collections import OrderedDict
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reid.domain.values.encoders import Activation


class Projections(NamedTuple):
    """Queries, keys and values of a block's tokens, by head: (B, H, L, d)."""

    queries: Tensor
    keys: Tensor
    values: Tensor


class Projection(NamedTuple):
    """A linear map to all heads."""

    weight: Tensor  # (D, D), rows of head 0 first
    bias: Tensor  # (D,)


class LayerNorm(nn.LayerNorm):
    """LayerNorm that keeps its input's precision, under autocast too."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (..., D)."""
        return super().forward(input).to(input.dtype)


class QuickGelu(nn.Module):
    """x * sigmoid(1.702 x), with which OpenAI trained CLIP."""

    def forward(self, values: Tensor) -> Tensor:
        """Apply to values of any shape."""
        return values * torch.sigmoid(1.702 * values)


class Block(nn.Module):
    """A residual attention block."""

    def __init__(self, width: int, *, head_width: int, activation: Activation) -> None:
        """Draw torch's own initial weights."""
        super().__init__()
        bend = QuickGelu() if activation is Activation.QUICK_GELU else nn.GELU()
        self.attn = nn.MultiheadAttention(width, width // head_width, batch_first=True)
        self.ln_1 = LayerNorm(width)
        self.mlp = nn.Sequential(
            OrderedDict(
                c_fc=nn.Linear(width, 4 * width), gelu=bend, c_proj=nn.Linear(4 * width, width)
            )
        )
        self.ln_2 = LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Run the block: (B, L, D) to (B, L, D)."""
        return self.conclude(tokens, attend(self.project(tokens)))

    def project(self, tokens: Tensor) -> Projections:
        """Compute queries, keys and values from the (B, L, D) residual stream."""
        attention = self.attn
        packed = F.linear(self.ln_1(tokens), attention.in_proj_weight, attention.in_proj_bias)
        heads = torch.unflatten(packed, 2, (3, attention.num_heads, -1))  # (B, L, 3, H, d)
        return Projections(*heads.permute(2, 0, 3, 1, 4))

    def conclude(self, tokens: Tensor, attended: Tensor) -> Tensor:
        """Add the heads' (B, H, L, d) outputs and the perceptron to the (B, L, D) stream."""
        merged = attended.transpose(1, 2).flatten(2)  # (B, L, D)
        tokens = tokens + self.attn.out_proj(merged)
        result: Tensor = tokens + self.mlp(self.ln_2(tokens))
        return result

    def follow(self, tokens: Tensor, position: int) -> Tensor:
        """Run the last block of a tower for one position, which attends to all tokens.

        The other positions' outputs are never read, so queries, output projection and perceptron
        run for a single token: the (B, L, D) stream before the block becomes (B, D) after it.
        """
        attention = self.attn
        asking, key, value = map(
            Projection, attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3)
        )
        normed = self.ln_1(tokens)
        query = F.linear(normed[:, position], *asking)  # (B, D)
        attended = attend_once(query, normed, key=key, value=value, num_heads=attention.num_heads)
        token = tokens[:, position] + attention.out_proj(attended)  # (B, D)
        result: Tensor = token + self.mlp(self.ln_2(token))
        return result

    def show(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Run the block: (B, L, D) tokens after it, and its (B, H, L, L) attention."""
        queries, keys, values = self.project(tokens)
        shares = (queries * queries.shape[3] ** -0.5 @ keys.transpose(2, 3)).softmax(dim=3)
        return self.conclude(tokens, shares @ values), shares


class Transformer(nn.Module):
    """A sequence of blocks."""

    def __init__(
        self, width: int, *, num_layers: int, head_width: int, activation: Activation
    ) -> None:
        """Build the blocks in order."""
        super().__init__()
        self.resblocks = nn.ModuleList(
            Block(width, head_width=head_width, activation=activation) for _ in range(num_layers)
        )

    @property
    def blocks(self) -> list[Block]:
        """The blocks, first to last."""
        return [block for block in self.resblocks if isinstance(block, Block)]


def attend(projections: Projections) -> Tensor:
    """Attend from every token to all tokens: (B, H, L, d)."""
    queries, keys, values = projections
    if queries.dtype is torch.bfloat16 and queries.device.type == "cpu":
        # torch's fused kernel takes three times as long here, forward and backward together.
        shares = (queries * queries.shape[3] ** -0.5 @ keys.transpose(2, 3)).softmax(dim=3)
        answers: Tensor = shares.to(values.dtype) @ values
        return answers
    return F.scaled_dot_product_attention(queries, keys, values)


def attend_once(
    query: Tensor, tokens: Tensor, *, key: Projection, value: Projection, num_heads: int
) -> Tensor:
    """Attend from one query per sequence, projecting that query rather than all tokens.

    In each head, with x_s the tokens and a_s the shares that sum to 1,

        q . (K x_s + b) = (K^T q) . x_s + q . b
        sum_s a_s (V x_s + c) = V (sum_s a_s x_s) + c

    so both projections run once per head instead of once per token. The result differs by rounding
    only, and RN50's attention pool saves a sixth of the whole encoder's work.

    `query` is (B, D), projected; `tokens` are (B, L, D), not projected; `key` is K and b, `value` V
    and c of all heads. Returns (B, D) outputs, heads side by side.
    """
    heads = torch.unflatten(query, 1, (num_heads, -1))  # (B, H, d)
    turned = torch.einsum("bhd,hde->bhe", heads, torch.unflatten(key.weight, 0, (num_heads, -1)))
    # q . b is equal for all tokens and does not change the shares. It is kept because Adam's decay
    # moves parameters that have a gradient, even a zero one.
    offset = (heads * key.bias.view(num_heads, -1)).sum(dim=2, keepdim=True)  # (B, H, 1)
    scores = turned @ tokens.transpose(1, 2) + offset  # (B, H, L)
    shares = (scores * heads.shape[2] ** -0.5).softmax(dim=2)
    seen = shares.to(tokens.dtype) @ tokens  # (B, H, D)
    outputs = torch.einsum("bhe,hde->bhd", seen, torch.unflatten(value.weight, 0, (num_heads, -1)))
    return outputs.flatten(1) + value.bias
