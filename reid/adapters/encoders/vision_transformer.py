"""CLIP's ViT with overlapping patches and camera embeddings as options.

Letters: B batch, D width, H W pixels, h w grid, P = h * w positions.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from reid.adapters.encoders.architecture import (
    HALVES,
    IMAGE_PREFIX,
    Architecture,
    EncoderPlan,
    Measures,
    PixelStatistics,
    TextConfiguration,
    count_children,
    length_of,
)
from reid.adapters.encoders.blocks import LayerNorm, Transformer
from reid.adapters.encoders.image_tower import Grid, Visual, drawn
from reid.domain.errors import ConfigurationError
from reid.domain.values.encoders import Activation
from reid.domain.values.explanations import AttentionTrace, Cells
from reid.domain.values.features import ImageFeatures
from reid.domain.values.samples import ImageSize

_PRETRAINING_GRID = Grid(14, 14)


@dataclass(frozen=True, slots=True, kw_only=True)
class ViTArchitecture(Architecture):
    """Sizes of a ViT."""

    positions_name = f"{IMAGE_PREFIX}positional_embedding"
    has_cameras = True
    usual_strides = (16, 12)

    layers: int
    pretraining_grid: Grid = _PRETRAINING_GRID
    pixel_statistics: PixelStatistics = HALVES

    @property
    def feature_widths(self) -> tuple[int, int]:
        """Width of the tokens, twice."""
        return self.width, self.width

    @staticmethod
    def measure(image: Mapping[str, Tensor]) -> Measures | None:
        """Read sizes off the weights; see `Architecture`."""
        if f"{IMAGE_PREFIX}class_embedding" not in image:
            return None
        layers = count_children(image, "transformer.resblocks.")
        return layers, length_of(image, "class_embedding", 0), length_of(image, "proj", 1)

    def check_stride(self, image_size: ImageSize, stride: int) -> None:  # noqa: ARG002
        """Refuse strides that leave pixels out; see `Architecture`."""
        if not 1 <= stride <= self.patch_size:
            raise ConfigurationError(
                f"encoder.stride: stride {stride} is outside 1..{self.patch_size}"
            )

    def build_visual(self, plan: EncoderPlan) -> "VisionTransformer":
        """Build the image half; see `Architecture`."""
        return VisionTransformer(self, stride=plan.stride, activation=plan.activation)


class VisionTransformer(Visual):
    """CLIP's ViT under OpenAI's names, cut to the features of its class token.

    Cameras differ from TransReID, which adds them to every token: CLIP-ReID adds them to the class
    token only.
    """

    def __init__(
        self, architecture: ViTArchitecture, *, stride: int, activation: Activation
    ) -> None:
        """Draw all weights, in the order of open_clip."""
        super().__init__()
        width, patch_size = architecture.width, architecture.patch_size
        scale = width**-0.5
        count = architecture.pretraining_grid.num_positions
        self.conv1 = nn.Conv2d(3, width, patch_size, stride=stride, bias=False)
        self.class_embedding = drawn(width, std=scale)
        self.positional_embedding = drawn(count + 1, width, std=scale)
        self.ln_pre = LayerNorm(width)
        self.transformer = Transformer(
            width,
            num_layers=architecture.layers,
            head_width=architecture.head_width,
            activation=activation,
        )
        self.ln_post = LayerNorm(width)
        self.proj = drawn(width, architecture.projected_width, std=scale)

    def forward(self, images: Tensor, cameras: Tensor | None) -> ImageFeatures:
        """Return the class token before the last block, after the last LayerNorm, and projected."""
        tokens = self._first_tokens(images, cameras)
        *blocks, last = self.transformer.blocks
        for block in blocks:
            tokens = block(tokens)
        return self._features(tokens[:, 0], last.follow(tokens, 0))

    def trace(self, images: Tensor, cameras: Tensor | None) -> AttentionTrace:
        """Encode images, and return the attention of every block."""
        attention = []
        with torch.enable_grad():
            # A leaf, so that gradients also flow where the weights are frozen.
            tokens = self._first_tokens(images, cameras).detach().requires_grad_()
            before = tokens
            for block in self.transformer.blocks:
                before = tokens
                tokens, shares = block.show(tokens)
                attention.append(shares)
            features = self._features(before[:, 0], tokens[:, 0])
        (extent, _), (stride, _) = self.conv1.kernel_size, self.conv1.stride
        rows, columns = ((length - extent) // stride + 1 for length in images.shape[2:])
        cells = Cells(rows=rows, columns=columns, stride=stride, extent=extent)
        return AttentionTrace(features=features, attention=tuple(attention), cells=cells)

    def _first_tokens(self, images: Tensor, cameras: Tensor | None) -> Tensor:
        """Compute what the first block reads: (B, 1 + P, D), the class token first."""
        patches = self.conv1(images).flatten(2).transpose(1, 2)  # (B, P, D)
        token = self.class_embedding.expand(images.shape[0], -1)  # (B, D)
        if cameras is not None:
            token = token + cameras
        tokens = torch.cat([token[:, None], patches], dim=1) + self.positional_embedding
        normed: Tensor = self.ln_pre(tokens)
        return normed

    def _features(self, before: Tensor, after: Tensor) -> ImageFeatures:
        """Read the features from the (B, D) class token before and after the last block."""
        final = self.ln_post(after)  # (B, D)
        return ImageFeatures(
            penultimate=before.float(), final=final.float(), projected=(final @ self.proj).float()
        )


VIT_B16 = ViTArchitecture(
    kind="vit-b16",
    layers=12,
    width=768,
    projected_width=512,
    text=TextConfiguration(width=512, layers=12),
    image_size=ImageSize(256, 128),
)
VIT_TINY = ViTArchitecture(
    kind="vit-tiny",
    layers=12,
    width=64,
    projected_width=32,
    text=TextConfiguration(width=64, layers=2),
    image_size=ImageSize(128, 64),
)
