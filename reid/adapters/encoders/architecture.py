"""The description of a family of encoders: sizes, options, and how its towers are built."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from torch import Tensor

from reid.adapters.encoders.image_tower import Grid, Visual
from reid.domain.values.encoders import Activation, EncoderGeometry, Pooling
from reid.domain.values.json_values import JsonValue
from reid.domain.values.samples import ImageSize

IMAGE_PREFIX = "image_encoder."
"""Begins the names of an image tower's weights, as in the paper's released checkpoints."""

PixelStatistics: TypeAlias = tuple[tuple[float, float, float], tuple[float, float, float]]
"""Mean and deviation of red, green and blue."""

IMAGENET_STATISTICS = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALVES = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

Measures: TypeAlias = tuple[int | tuple[int, ...], int, int]
"""`layers`, `width` and `projected_width` of an architecture."""


@dataclass(frozen=True, slots=True)
class TextConfiguration:
    """Sizes of a text tower."""

    width: int
    layers: int
    head_width: int = 64
    context_length: int = 77
    vocabulary_size: int = 49408


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture(ABC):
    """One kind of encoder: its sizes, its options, and its factory."""

    positions_name: ClassVar[str]  # name of the position embeddings in a state
    has_cameras: ClassVar[bool]
    poolings: ClassVar[tuple[Pooling, ...]] = (Pooling.AVERAGE,)
    usual_strides: ClassVar[tuple[int, ...]]
    """Tried where a file has positions but does not say its stride; the first is the default."""
    kind: str  # name in settings
    layers: int | tuple[int, ...]  # blocks of a ViT, or blocks per stage of a ResNet
    width: int  # width of a ViT's tokens, or of a ResNet's stem
    projected_width: int
    patch_size: int = 16
    """Pixels along one position: a ViT's patch, or a cell of a ResNet's last map."""
    head_width: int = 64

    pretraining_grid: Grid
    """Grid of the position embeddings that CLIP was trained with, on square images."""
    text: TextConfiguration | None  # None for an encoder without a text tower
    image_size: ImageSize
    pixel_statistics: PixelStatistics  # with which CLIP-ReID feeds this backbone; not CLIP's own

    @property
    @abstractmethod
    def feature_widths(self) -> tuple[int, int]:
        """Widths of the penultimate and the final feature."""

    @staticmethod
    @abstractmethod
    def measure(image: Mapping[str, Tensor]) -> Measures | None:
        """Read sizes off an image tower's weights: 0 for missing, None for another family's."""

    def grid(self, image_size: ImageSize, stride: int) -> Grid:
        """Lay positions every `stride` pixels (CLIP-ReID, section 4.1: overlap by stride 12)."""
        return Grid(
            (image_size.height - self.patch_size) // stride + 1,
            (image_size.width - self.patch_size) // stride + 1,
        )

    @abstractmethod
    def check_stride(self, image_size: ImageSize, stride: int) -> None:
        """Refuse strides that do not suit this kind or the size of its images.

        Raises:
            ConfigurationError: The message names strides that do.
        """

    @abstractmethod
    def build_visual(self, plan: "EncoderPlan") -> Visual:
        """Build the image half, drawn by torch's global generator, on `pretraining_grid`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderPlan:
    """Everything that determines an encoder's shape."""

    architecture: Architecture
    image_size: ImageSize
    stride: int
    num_cameras: int
    camera_scale: float
    activation: Activation
    pooling: Pooling
    source_grid: Grid  # grid of the position embeddings in the weights

    @property
    def grid(self) -> Grid:
        """Grid of the encoder's images."""
        return self.architecture.grid(self.image_size, self.stride)

    @property
    def geometry(self) -> EncoderGeometry:
        """Sizes and pixel statistics of the encoder to be built."""
        mean, std = self.architecture.pixel_statistics
        penultimate, final = self.architecture.feature_widths
        return EncoderGeometry(
            image_size=self.image_size,
            pixel_mean=mean,
            pixel_std=std,
            penultimate_width=penultimate,
            final_width=final,
            projected_width=self.architecture.projected_width,
            num_cameras=self.num_cameras,
        )

    def options(self) -> dict[str, JsonValue]:
        """Options for `EncoderDescription`, by which the same encoder can be built again."""
        options: dict[str, JsonValue] = {
            "image_size": [self.image_size.height, self.image_size.width],
            "stride": self.stride,
            "num_cameras": self.num_cameras,
            "camera_scale": self.camera_scale,
            "activation": self.activation.value,
        }
        # Left out where it is the default, so that files written before it existed stay the same.
        if self.pooling is not Pooling.AVERAGE:
            options["pooling"] = self.pooling.value
        return options


def count_children(image: Mapping[str, Tensor], parent: str) -> int:
    """Count a module's children by the names of an image tower's weights."""
    prefix = IMAGE_PREFIX + parent
    return len(
        {name.removeprefix(prefix).split(".")[0] for name in image if name.startswith(prefix)}
    )


def length_of(image: Mapping[str, Tensor], name: str, axis: int) -> int:
    """Read a length off the shape of an image tower's weight; 0 where it is missing."""
    value = image.get(IMAGE_PREFIX + name)
    return value.shape[axis] if value is not None and value.ndim > axis else 0
