"""How an encoder came to its features, and what that explains about a pair of images.

Letters: B batch, H W pixels, h w grid, P = h * w cells, L = 1 + P tokens, A heads, C channels.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from torch import Tensor

from reid.domain.values.encoders import EncoderDescription
from reid.domain.values.features import ImageFeatures
from reid.domain.values.samples import ListedImage


class ExplanationMethod(StrEnum):
    """How regions get their weights."""

    ROLLOUT = "rollout"
    """Attention followed through the blocks; the same whatever an image is compared with."""
    GRADIENT_ROLLOUT = "gradient-rollout"
    """Roll-out in which each attention counts by what it adds to the pair's similarity."""
    GRAD_CAM = "grad-cam"
    """Channels of a convolutional network's last map, weighted in the same way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """Where the cells of a grid lie on an image: squares, numbered row by row."""

    rows: int
    columns: int
    stride: int  # pixels from one cell's edge to the next one's
    extent: int  # pixels along a cell's edge; more than `stride` where cells overlap


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionTrace:
    """A transformer's features, and the attention that led to them."""

    features: ImageFeatures  # differentiable in `attention`
    attention: tuple[Tensor, ...]
    """One (B, A, L, L) per block, first block first: row i is how token i distributes its
    attention; token 0 is the class token."""
    cells: Cells


@dataclass(frozen=True, slots=True, kw_only=True)
class MapTrace:
    """A convolutional network's features, and the map that they were pooled from."""

    features: ImageFeatures  # differentiable in `maps`, as far as they depend on it
    maps: Tensor  # (B, C, h, w)
    cells: Cells


ImageTrace: TypeAlias = AttentionTrace | MapTrace


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletionCheck:
    """The pair's similarity after a share of one image's pixels was masked."""

    share: float
    most_marked: float  # without the pixels that the explanation marks most
    least_marked: float
    random: float  # without patches drawn at random, mean over draws

    @property
    def is_passed(self) -> bool:
        """Whether what is marked matters more than what is not, and than chance."""
        return self.most_marked < min(self.least_marked, self.random)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedImage:
    """One image of the pair."""

    image: ListedImage
    pixels: Tensor  # (3, n * H, n * W) uint8 RGB to be shown, n times the encoder's size
    weights: Tensor
    """(H, W) float32 on the CPU, at the encoder's size: 1 at the largest, 0 where nothing adds."""
    check: DeletionCheck


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What made two images alike."""

    query: ExplainedImage
    gallery: ExplainedImage
    similarity: float  # cosine, in -1..1
    method: ExplanationMethod
    encoder: EncoderDescription
    are_cameras_used: bool
