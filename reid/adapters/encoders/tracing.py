"""Image towers run so that their work shows; nothing here runs unless a pair is explained.

The towers' own way through leaves attention inside torch's kernels and asks for one token only
where one is read. Here attention is written out, so that it can be looked at and differentiated.

Letters: B batch, D width, A heads, L = 1 + P tokens.
"""

import torch
from open_clip.transformer import ResidualAttentionBlock
from torch import Tensor

from reid.adapters.encoders.architectures import PATCH_SIZE
from reid.adapters.encoders.attention import conclude, project
from reid.adapters.encoders.image_towers import ResNetTower, VisionTransformerTower
from reid.domain.values.explanations import AttentionTrace, Cells, MapTrace


def trace_resnet(tower: ResNetTower, images: Tensor) -> MapTrace:
    """Run a ResNet, its last map a leaf that gradients reach."""
    with torch.no_grad():
        third, fourth = tower.maps_of(images)
    maps = fourth.requires_grad_()
    with torch.enable_grad():
        features = tower.pool(third, maps)
    rows, columns = maps.shape[2:]
    cells = Cells(rows=rows, columns=columns, stride=PATCH_SIZE, extent=PATCH_SIZE)
    return MapTrace(features=features, maps=maps, cells=cells)


def trace_transformer(
    tower: VisionTransformerTower, images: Tensor, camids: Tensor | None
) -> AttentionTrace:
    """Run a ViT, the attention of its blocks written out."""
    attention = []
    with torch.enable_grad():
        # A leaf of its own, so that gradients flow where the weights are frozen too.
        tokens = tower.first_tokens(images, camids).detach().requires_grad_()
        before = tokens
        for block in tower.image_encoder.transformer.resblocks:
            before = tokens
            tokens, shares = _run_visibly(block, tokens)
            attention.append(shares)
        features = tower.describe(before[:, 0], tokens[:, 0])
    return AttentionTrace(
        features=features, attention=tuple(attention), cells=_patches(tower, images)
    )


def _run_visibly(block: ResidualAttentionBlock, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Run a block: (B, L, D) tokens after it, and its (B, A, L, L) attention."""
    queries, keys, values = project(block, tokens)
    shares = (queries * queries.shape[3] ** -0.5 @ keys.transpose(2, 3)).softmax(dim=3)
    return conclude(block, tokens, shares @ values), shares


def _patches(tower: VisionTransformerTower, images: Tensor) -> Cells:
    (stride, _) = tower.image_encoder.conv1.stride
    rows, columns = ((length - PATCH_SIZE) // stride + 1 for length in images.shape[2:])
    return Cells(rows=rows, columns=columns, stride=stride, extent=PATCH_SIZE)
