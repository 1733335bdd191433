"""CLIP's image towers as the paper's code runs them: float32, eager, every token to the end."""

import torch
import torch.nn.functional as F
from torch import Tensor

from reid.adapters.encoders.blocks import Block
from reid.adapters.encoders.image_tower import ImageTower
from reid.adapters.encoders.resnet import AttentionPool, ModifiedResNet
from reid.adapters.encoders.vision_transformer import VisionTransformer


@torch.no_grad()
def embedding(tower: ImageTower, images: Tensor) -> Tensor:
    """Describe images by a tower's weights: (B, final + projected width), not normalised."""
    visual = tower.image_encoder
    if isinstance(visual, ModifiedResNet):
        return _resnet(visual, images)
    assert isinstance(visual, VisionTransformer)
    return _vit(visual, images)


def run_block(block: Block, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
    """Run a block by torch's own attention, from all tokens to all tokens."""
    normed = block.ln_1(tokens)
    attended, _ = block.attn(normed, normed, normed, need_weights=False, attn_mask=mask)
    tokens = tokens + attended
    result: Tensor = tokens + block.mlp(block.ln_2(tokens))
    return result


def _vit(visual: VisionTransformer, images: Tensor) -> Tensor:
    patches = visual.conv1(images).flatten(2).transpose(1, 2)  # (B, P, D)
    token = visual.class_embedding.expand(len(images), 1, -1)
    tokens = visual.ln_pre(torch.cat([token, patches], dim=1) + visual.positional_embedding)
    for block in visual.transformer.blocks:
        tokens = run_block(block, tokens)
    tokens = visual.ln_post(tokens)  # (B, 1 + P, D)
    projected = tokens @ visual.proj
    return torch.cat([tokens[:, 0], projected[:, 0]], dim=1)


def _resnet(visual: ModifiedResNet, images: Tensor) -> Tensor:
    maps = visual.layer4(visual.layer3(visual.layer2(visual.layer1(visual.stem(images)))))
    pooled = attend_from_everywhere(visual.attnpool, maps)  # (1 + P, B, E)
    return torch.cat([maps.mean(dim=(2, 3)), pooled[0]], dim=1)


def attend_from_everywhere(pool: AttentionPool, maps: Tensor) -> Tensor:
    """Pool (B, D, h, w) maps to (1 + P, B, E), every position asking."""
    cells = maps.flatten(2).permute(2, 0, 1)  # (P, B, D)
    tokens = (
        torch.cat([cells.mean(dim=0, keepdim=True), cells]) + pool.positional_embedding[:, None]
    )
    attended, _ = F.multi_head_attention_forward(
        tokens,
        tokens,
        tokens,
        embed_dim_to_check=tokens.shape[-1],
        num_heads=pool.num_heads,
        in_proj_weight=None,
        in_proj_bias=torch.cat([pool.q_proj.bias, pool.k_proj.bias, pool.v_proj.bias]),
        bias_k=None,
        bias_v=None,
        add_zero_attn=False,
        dropout_p=0.0,
        out_proj_weight=pool.c_proj.weight,
        out_proj_bias=pool.c_proj.bias,
        training=False,
        need_weights=False,
        use_separate_proj_weight=True,
        q_proj_weight=pool.q_proj.weight,
        k_proj_weight=pool.k_proj.weight,
        v_proj_weight=pool.v_proj.weight,
    )
    return attended
