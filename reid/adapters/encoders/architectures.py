"""The CLIP architectures on offer.

Letters: h w rows and columns of the position grid.
"""

from dataclasses import dataclass
from typing import NamedTuple

from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

from reid.domain.values.encoders import Activation
from reid.domain.values.samples import ImageSize

PATCH_SIZE = 16
"""Pixels of a ViT patch, and of a cell of the ResNet's last map."""

CONTEXT_LENGTH = 77
VOCABULARY_SIZE = 49408
HEAD_WIDTH = 64
CLIP_IMAGE_SIZE = 224
"""Side of the square pictures that CLIP was trained on."""

Statistics = tuple[float, float, float]

_IMAGENET_MEAN: Statistics = (0.485, 0.456, 0.406)
_IMAGENET_STD: Statistics = (0.229, 0.224, 0.225)
_HALVES: Statistics = (0.5, 0.5, 0.5)


class Grid(NamedTuple):
    """Rows and columns of positions, numbered row by row."""

    height: int
    width: int

    @property
    def num_positions(self) -> int:
        """Positions without the class or mean token."""
        return self.height * self.width

    @classmethod
    def of(cls, image_size: ImageSize, *, stride: int) -> "Grid":
        """Lay patches of 16 pixels every `stride` pixels.

        CLIP-ReID, section 4.1 (overlapping patches: stride 12).
        """
        return cls(
            (image_size.height - PATCH_SIZE) // stride + 1,
            (image_size.width - PATCH_SIZE) // stride + 1,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """Sizes of both towers.

    Pixel statistics are those that CLIP-ReID feeds each backbone with, not CLIP's own.
    """

    kind: str
    openai_name: str | None
    """Name in open_clip's table of downloads; None where OpenAI published nothing."""

    layers: int | tuple[int, int, int, int]
    """Blocks of a ViT, or blocks per stage of a ResNet."""

    width: int
    projected_width: int
    token_width: int
    text_layers: int
    image_size: ImageSize
    pixel_mean: Statistics
    pixel_std: Statistics

    @property
    def is_resnet(self) -> bool:
        """True for the modified ResNet, False for the ViT."""
        return isinstance(self.layers, tuple)

    @property
    def penultimate_width(self) -> int:
        """Width of layer 3 (16 times the stem's), or of the ViT's tokens."""
        return self.width * 16 if self.is_resnet else self.width

    @property
    def final_width(self) -> int:
        """Width of layer 4 (32 times the stem's), or of the ViT's tokens."""
        return self.width * 32 if self.is_resnet else self.width

    @property
    def pretraining_grid(self) -> Grid:
        """Grid of the position embeddings that CLIP was trained with."""
        side = CLIP_IMAGE_SIZE // (32 if self.is_resnet else PATCH_SIZE)
        return Grid(side, side)

    def build(self, *, activation: Activation = Activation.QUICK_GELU) -> CLIP:
        """Build open_clip's model with open_clip's own random initial weights.

        Args:
            activation: Of all transformers; a ResNet's convolutions have ReLU whatever this is.
        """
        return CLIP(
            self.projected_width,
            vision_cfg=CLIPVisionCfg(
                layers=self.layers,
                width=self.width,
                head_width=HEAD_WIDTH,
                patch_size=PATCH_SIZE,
                image_size=CLIP_IMAGE_SIZE,
            ),
            text_cfg=CLIPTextCfg(
                context_length=CONTEXT_LENGTH,
                vocab_size=VOCABULARY_SIZE,
                width=self.token_width,
                heads=self.token_width // HEAD_WIDTH,
                layers=self.text_layers,
            ),
            quick_gelu=activation is Activation.QUICK_GELU,
        )


_PERSON = ImageSize(256, 128)
_SMALL_PERSON = ImageSize(128, 64)

ARCHITECTURES: dict[str, Architecture] = {
    architecture.kind: architecture
    for architecture in (
        Architecture(
            kind="vit-b16",
            openai_name="ViT-B-16-quickgelu",
            layers=12,
            width=768,
            projected_width=512,
            token_width=512,
            text_layers=12,
            image_size=_PERSON,
            pixel_mean=_HALVES,
            pixel_std=_HALVES,
        ),
        Architecture(
            kind="rn50",
            openai_name="RN50-quickgelu",
            layers=(3, 4, 6, 3),
            width=64,
            projected_width=1024,
            token_width=512,
            text_layers=12,
            image_size=_PERSON,
            pixel_mean=_IMAGENET_MEAN,
            pixel_std=_IMAGENET_STD,
        ),
        Architecture(
            kind="vit-tiny",
            openai_name=None,
            layers=12,
            width=64,
            projected_width=32,
            token_width=64,
            text_layers=2,
            image_size=_SMALL_PERSON,
            pixel_mean=_HALVES,
            pixel_std=_HALVES,
        ),
        Architecture(
            kind="rn-tiny",
            openai_name=None,
            layers=(1, 1, 1, 1),
            width=16,
            projected_width=64,
            token_width=64,
            text_layers=2,
            image_size=_SMALL_PERSON,
            pixel_mean=_IMAGENET_MEAN,
            pixel_std=_IMAGENET_STD,
        ),
    )
}
"""By the name that settings use. The tiny ones exist for trials and tests on a CPU."""
