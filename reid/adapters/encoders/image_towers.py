"""CLIP's image encoders, cut to what re-identification reads from them.

Letters: B batch, D width, H W pixels, h w grid, P = h * w positions, N cameras.
"""

from typing import TypeAlias

import torch
import torch.nn.functional as F
from open_clip.modified_resnet import AttentionPool2d, ModifiedResNet
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn

from reid.adapters.encoders.architectures import Grid
from reid.adapters.encoders.attention import Projection, ask_once, attend_from, run_block
from reid.domain.values.encoders import Pooling
from reid.domain.values.features import ImageFeatures

_GEM_EXPONENT = 3
"""What Radenovic et al. 2018, arXiv:1711.02512, begin with; usual where it is not learned."""

_GEM_FLOOR = 1e-6
"""Least value of a map: the cube root is infinitely steep at 0, where a dead channel's mean is."""


def resize_positions(positions: Tensor, *, source: Grid, target: Grid) -> Tensor:
    """Stretch position embeddings over another grid.

    Bilinear, half-pixel centres, no antialiasing, as CLIP-ReID does; open_clip's own resize is
    bicubic and antialiased and gives other features.

    Args:
        positions: (1 + source positions, D); row 0 belongs to the class or mean token.
        source: Grid of the other rows, numbered row by row.
        target: Grid wanted.

    Returns:
        (1 + target positions, D); `positions` itself where the grids agree.
    """
    if source == target:
        return positions
    token, cells = positions[:1], positions[1:]
    cells = cells.T.reshape(1, -1, *source)  # (1, D, h, w)
    cells = F.interpolate(cells, size=tuple(target), mode="bilinear", align_corners=False)
    return torch.cat([token, cells.flatten(2)[0].T])  # (1 + P, D)


def name_parts_as_openai(blocks: nn.Module) -> None:
    """Walk each block's parts in OpenAI's order: attention before its LayerNorm.

    The order of parameters then equals that of the paper's code and its checkpoints.
    """
    for block in blocks.children():
        for name in ("attn", "ln_1", "mlp", "ln_2"):
            part = getattr(block, name)
            delattr(block, name)
            setattr(block, name, part)


class ResNetTower(nn.Module):
    """CLIP's modified ResNet with a last stage as fine as the one before.

    CLIP-ReID, section 4.1: the last stride is 1, so 256x128 pixels end in a map of 16x8.
    """

    def __init__(
        self, visual: ModifiedResNet, *, source: Grid, grid: Grid, pooling: Pooling
    ) -> None:
        """Adapt open_clip's model in place.

        Args:
            visual: The model, with positions on the grid `source`.
            source: Grid of its position embeddings.
            grid: Grid of the maps of the pictures to come.
            pooling: Of the maps of layers 3 and 4; the attention pool is what it is.
        """
        super().__init__()
        self._pool = pool_generalised if pooling is Pooling.GEM else pool_average
        first_block = visual.layer4[0]
        first_block.stride = 1
        first_block.avgpool = nn.Identity()
        first_block.downsample[0] = nn.Identity()
        positions = visual.attnpool.positional_embedding.detach()
        visual.attnpool.positional_embedding = nn.Parameter(
            resize_positions(positions, source=source, target=grid)
        )
        self.image_encoder = visual

    def forward(self, images: Tensor, camids: Tensor | None) -> ImageFeatures:  # noqa: ARG002
        """Describe pictures; a ResNet takes no notice of cameras.

        Args:
            images: (B, 3, H, W) float32.
            camids: Ignored.

        Returns:
            The pooled maps of layers 3 and 4, and the attention-pooled token.
        """
        return self.pool(*self.maps_of(images))

    def maps_of(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the maps of layers 3 and 4: (B, 16 * width, h, w) and (B, 32 * width, h, w)."""
        visual = self.image_encoder
        stem = visual.layer2(visual.layer1(visual.stem(images)))
        third = visual.layer3(stem)
        return third, visual.layer4(third)

    def pool(self, third: Tensor, fourth: Tensor) -> ImageFeatures:
        """Pool the maps of layers 3 and 4."""
        return ImageFeatures(
            penultimate=self._pool(third.float()),
            final=self._pool(fourth.float()),
            projected=attention_pool(self.image_encoder.attnpool, fourth).float(),
        )


def pool_average(maps: Tensor) -> Tensor:
    """Take the mean of (B, D, h, w) over all positions: (B, D)."""
    return maps.mean(dim=(2, 3))


def pool_generalised(maps: Tensor) -> Tensor:
    """Take the generalised mean with exponent 3, between the mean and the largest value.

    Radenovic et al. 2018, arXiv:1711.02512, eq. 3.

    Args:
        maps: (B, D, h, w) float32, not negative, as a ReLU leaves them.

    Returns:
        (B, D), differentiable; 1e-6 where a channel is 0 everywhere.
    """
    powers = maps.clamp(min=_GEM_FLOOR).pow(_GEM_EXPONENT)
    return powers.mean(dim=(2, 3)).pow(1 / _GEM_EXPONENT)


def draw_convolutions(visual: ModifiedResNet) -> None:
    """Draw a ResNet's convolutions so that signals keep their size.

    He et al. 2015, arXiv:1502.01852, eq. 10. Differs from open_clip, which leaves torch's default:
    there signals fade by a thousand before running statistics are learnt, and the pooled token of
    an untrained network hardly depends on the picture.
    """
    for module in visual.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")


def attention_pool(pool: AttentionPool2d, maps: Tensor) -> Tensor:
    """Pool a map by attention from its mean.

    Differs from CLIP-ReID, which lets all positions ask, because only the mean's answer is read.

    Args:
        pool: Projections and (1 + P, D) position embeddings.
        maps: (B, D, h, w).

    Returns:
        (B, projected width).
    """
    cells = maps.flatten(2).transpose(1, 2)  # (B, P, D)
    tokens = torch.cat([cells.mean(dim=1, keepdim=True), cells], dim=1)  # (B, 1 + P, D)
    tokens = tokens + pool.positional_embedding
    attended = ask_once(
        pool.q_proj(tokens[:, 0]),
        tokens,
        key=Projection(pool.k_proj.weight, pool.k_proj.bias),
        value=Projection(pool.v_proj.weight, pool.v_proj.bias),
        num_heads=pool.num_heads,
    )
    pooled: Tensor = pool.c_proj(attended)
    return pooled


class VisionTransformerTower(nn.Module):
    """CLIP's ViT with overlapping patches and camera embeddings as options.

    Camera embeddings: TransReID, He et al. 2021, arXiv:2102.04378, section 3.3 (SIE). Differs from
    TransReID, which adds them to every token: CLIP-ReID adds them to the class token only.
    """

    cv_embed: nn.Parameter | None

    def __init__(
        self,
        visual: VisionTransformer,
        *,
        source: Grid,
        grid: Grid,
        stride: int,
        cameras: Tensor | None,
        camera_scale: float,
    ) -> None:
        """Adapt open_clip's model in place.

        Args:
            visual: The model, with positions on the grid `source`.
            source: Grid of its position embeddings.
            grid: Grid of the patches of the pictures to come.
            stride: Pixels between patches.
            cameras: (N, D) one embedding per camera, or None.
            camera_scale: Weight of the camera embedding in the sum.
        """
        super().__init__()
        visual.conv1.stride = (stride, stride)
        visual.positional_embedding = nn.Parameter(
            resize_positions(visual.positional_embedding.detach(), source=source, target=grid)
        )
        name_parts_as_openai(visual.transformer.resblocks)
        self.cv_embed = None if cameras is None else nn.Parameter(cameras)
        self.camera_scale = camera_scale
        self.image_encoder = visual

    def forward(self, images: Tensor, camids: Tensor | None) -> ImageFeatures:
        """Describe pictures.

        Args:
            images: (B, 3, H, W) float32.
            camids: (B,) int64 within the known cameras, or None.

        Returns:
            The class token before the last block, after it and the last LayerNorm, and projected.
        """
        tokens = self.first_tokens(images, camids)
        *blocks, last = self.image_encoder.transformer.resblocks
        for block in blocks:
            tokens = run_block(block, tokens)
        return self.describe(tokens[:, 0], attend_from(last, tokens, 0))

    def first_tokens(self, images: Tensor, camids: Tensor | None) -> Tensor:
        """Compute what the first block reads: (B, 1 + P, D), the class token first."""
        tokens: Tensor = self.image_encoder.ln_pre(self._embed(images, camids))
        return tokens

    def describe(self, before: Tensor, after: Tensor) -> ImageFeatures:
        """Read the features from the (B, D) class token before and after the last block."""
        visual = self.image_encoder
        final = visual.ln_post(after)  # (B, D)
        return ImageFeatures(
            penultimate=before.float(),
            final=final.float(),
            projected=(final @ visual.proj).float(),
        )

    def _embed(self, images: Tensor, camids: Tensor | None) -> Tensor:
        visual = self.image_encoder
        patches = visual.conv1(images).flatten(2).transpose(1, 2)  # (B, P, D)
        token = visual.class_embedding.expand(images.shape[0], -1)  # (B, D)
        if self.cv_embed is not None and camids is not None:
            token = token + self.camera_scale * self.cv_embed[camids]
        tokens: Tensor = torch.cat([token[:, None], patches], dim=1) + visual.positional_embedding
        return tokens


ImageTower: TypeAlias = ResNetTower | VisionTransformerTower
