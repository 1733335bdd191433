"""Attention of CLIP's transformer blocks, for the positions that somebody reads and no others.

open_clip's blocks keep the parameters; what is computed with them is Vaswani et al. 2017,
arXiv:1706.03762, eq. 1: softmax(q k^T / sqrt(d)) v in every head.

Letters: B sequences, L tokens, D width, H heads, d = D / H, s a token that is looked at.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from open_clip.transformer import ResidualAttentionBlock
from torch import Tensor


class Projections(NamedTuple):
    """What a block's tokens ask, offer and tell, by head."""

    queries: Tensor
    """(B, H, L, d)."""

    keys: Tensor
    values: Tensor


class Projection(NamedTuple):
    """A linear map to all heads."""

    weight: Tensor
    """(D, D), rows of head 0 first."""

    bias: Tensor
    """(D,)."""


def project(block: ResidualAttentionBlock, tokens: Tensor) -> Projections:
    """Compute a block's queries, keys and values from its (B, L, D) residual stream."""
    attention = block.attn
    packed = F.linear(block.ln_1(tokens), attention.in_proj_weight, attention.in_proj_bias)
    heads = torch.unflatten(packed, 2, (3, attention.num_heads, -1))  # (B, L, 3, H, d)
    return Projections(*heads.permute(2, 0, 3, 1, 4))


def conclude(block: ResidualAttentionBlock, tokens: Tensor, attended: Tensor) -> Tensor:
    """Add to the residual stream what attention and then the perceptron say.

    Args:
        block: The block.
        tokens: (B, L, D) residual stream before it.
        attended: (B, H, L, d) answers of its heads.

    Returns:
        (B, L, D) residual stream after it.
    """
    merged = attended.transpose(1, 2).flatten(2)  # (B, L, D)
    tokens = tokens + block.attn.out_proj(merged)
    result: Tensor = tokens + block.mlp(block.ln_2(tokens))
    return result


def run_block(block: ResidualAttentionBlock, tokens: Tensor) -> Tensor:
    """Run a block in which every token looks at all others: (B, L, D) to (B, L, D)."""
    return conclude(block, tokens, attend(project(block, tokens)))


def attend(projections: Projections) -> Tensor:
    """Let every token look at all others: (B, H, L, d)."""
    queries, keys, values = projections
    if queries.dtype is torch.bfloat16 and queries.device.type == "cpu":
        # torch's fused kernel takes three times as long here, forward and backward together.
        shares = (queries * queries.shape[3] ** -0.5 @ keys.transpose(2, 3)).softmax(dim=3)
        answers: Tensor = shares.to(values.dtype) @ values
        return answers
    return F.scaled_dot_product_attention(queries, keys, values)


def attend_from(block: ResidualAttentionBlock, tokens: Tensor, position: int) -> Tensor:
    """Run a block for one position that may look at all tokens.

    What the last block says of the other positions is never read, so its queries, its output
    projection and its perceptron run for a single token: equal, and cheaper.

    Args:
        block: The last block of a tower.
        tokens: (B, L, D) residual stream before the block.
        position: Which token to follow, 0 or -1.

    Returns:
        (B, D) residual stream of that token after the block.
    """
    attention = block.attn
    asking, key, value = map(
        Projection, attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3)
    )
    normed = block.ln_1(tokens)
    query = F.linear(normed[:, position], *asking)  # (B, D)
    attended = ask_once(query, normed, key=key, value=value, num_heads=attention.num_heads)
    token = tokens[:, position] + attention.out_proj(attended)  # (B, D)
    result: Tensor = token + block.mlp(block.ln_2(token))
    return result


def ask_once(
    query: Tensor, tokens: Tensor, *, key: Projection, value: Projection, num_heads: int
) -> Tensor:
    """Attend from one query per sequence, projecting that query rather than all tokens.

    In each head, with x_s the tokens and a_s the shares that sum to 1,

        q . (K x_s + b) = (K^T q) . x_s + q . b
        sum_s a_s (V x_s + c) = V (sum_s a_s x_s) + c

    so both projections run once per head instead of once per token: equal but for rounding, and in
    RN50's attention pool a sixth of the whole encoder's work less.

    Args:
        query: (B, D), projected.
        tokens: (B, L, D), not projected.
        key: K and b of all heads.
        value: V and c of all heads.
        num_heads: H.

    Returns:
        (B, D) answers, heads side by side.
    """
    heads = torch.unflatten(query, 1, (num_heads, -1))  # (B, H, d)
    turned = torch.einsum("bhd,hde->bhe", heads, torch.unflatten(key.weight, 0, (num_heads, -1)))
    # q . b is equal for all tokens and leaves the shares alone. It is kept because Adam's decay
    # moves those parameters that have a gradient, be it zero.
    offset = (heads * key.bias.view(num_heads, -1)).sum(dim=2, keepdim=True)  # (B, H, 1)
    scores = turned @ tokens.transpose(1, 2) + offset  # (B, H, L)
    shares = (scores * heads.shape[2] ** -0.5).softmax(dim=2)
    seen = shares.to(tokens.dtype) @ tokens  # (B, H, D)
    told = torch.einsum("bhe,hde->bhd", seen, torch.unflatten(value.weight, 0, (num_heads, -1)))
    return told.flatten(1) + value.bias
