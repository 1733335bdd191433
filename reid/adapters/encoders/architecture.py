"""What a family of encoders says of itself: sizes of its towers, and how they are built.

Letters: h w rows and columns of the position grid.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from reid.domain.values.encoders import Pooling
from reid.domain.values.explanations import ImageTrace
from reid.domain.values.features import ImageFeatures
from reid.domain.values.samples import ImageSize

if TYPE_CHECKING:
    from reid.adapters.encoders.plans import EncoderPlan

IMAGE_PREFIX = "image_encoder."
"""Begins the names of an image tower's weights, as in the paper's released checkpoints."""

IMAGENET_STATISTICS = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALVES = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


class Grid(NamedTuple):
    """Rows and columns of positions, numbered row by row."""

    height: int
    width: int

    @property
    def num_positions(self) -> int:
        """Positions without the class or mean token."""
        return self.height * self.width


class ImageTower(nn.Module):
    """An image encoder; a family subclasses it."""

    suits_channels_last: ClassVar[bool] = False
    """Whether bfloat16 is faster with the channels of a pixel side by side."""

    cv_embed: nn.Parameter | None
    """(N, D) camera embeddings, None where the tower has none."""

    def __init__(self) -> None:
        """Begin without camera embeddings."""
        super().__init__()
        self.register_parameter("cv_embed", None)

    def redraw(self) -> None:
        """Draw anew the random weights that torch's own initialisation leaves badly scaled."""

    def forward(self, images: Tensor, camids: Tensor | None) -> ImageFeatures:
        """Encode (B, 3, H, W) float32 images; camids are (B,) int64 within the known, or None."""
        raise NotImplementedError

    def trace(self, images: Tensor, camids: Tensor | None) -> ImageTrace:
        """Encode likewise, with the attention or the map that the features come from.

        `forward` leaves attention inside torch's kernels and follows one token only where one is
        read; here it is written out, so that it can be shown and differentiated.
        """
        raise NotImplementedError


Measures: TypeAlias = tuple[int | tuple[int, ...], int, int]
"""Layers, width and projected width."""


@dataclass(frozen=True, slots=True)
class TextConfiguration:
    """Sizes of a text tower."""

    width: int
    layers: int
    head_width: int = 64
    context_length: int = 77
    vocabulary_size: int = 49408


@dataclass(frozen=True, slots=True)
class Publication:
    """Where OpenAI's weights lie."""

    url: str
    """OpenAI's archive; the folder's name is its SHA-256."""

    hub: str
    """Repository with the same weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture(ABC):
    """One kind of encoder: its sizes, what may be chosen, and its factory."""

    positions_name: ClassVar[str]
    """Of the position embeddings in a state."""

    has_cameras: ClassVar[bool]
    poolings: ClassVar[tuple[Pooling, ...]] = (Pooling.AVERAGE,)
    usual_strides: ClassVar[tuple[int, ...]]
    """Tried where a file has positions but does not say its stride; the first is the default."""

    kind: str
    """Name in settings."""

    published: Publication | None = None
    """None where OpenAI published nothing."""

    layers: int | tuple[int, ...]
    """Blocks of a ViT, or blocks per stage of a ResNet."""

    width: int
    """Of a ViT's tokens, or of a ResNet's stem."""

    projected_width: int
    head_width: int = 64
    patch_size: int = 16
    """Pixels along what one position stands for: a ViT's patch, a cell of a ResNet's last map."""

    pretraining_grid: Grid
    """Grid of the position embeddings that CLIP was trained with, on square images."""

    text: TextConfiguration | None
    """None for an encoder without a text tower."""

    image_size: ImageSize
    pixel_statistics: tuple[tuple[float, float, float], tuple[float, float, float]]
    """Mean and deviation with which CLIP-ReID feeds this backbone; not CLIP's own."""

    @property
    @abstractmethod
    def feature_widths(self) -> tuple[int, int]:
        """Widths of the penultimate and the final feature."""

    @property
    def measures(self) -> Measures:
        """What `measure` reads off this kind's weights."""
        return self.layers, self.width, self.projected_width

    @staticmethod
    @abstractmethod
    def measure(image: Mapping[str, Tensor]) -> Measures | None:
        """Read layers, width and projected width off the shapes of an image tower's weights.

        Returns:
            0 for what is not there; None for another family's weights.
        """

    def grid(self, image_size: ImageSize, *, stride: int) -> Grid:
        """Lay positions every `stride` pixels.

        CLIP-ReID, section 4.1 (overlapping patches: stride 12).
        """
        return Grid(
            (image_size.height - self.patch_size) // stride + 1,
            (image_size.width - self.patch_size) // stride + 1,
        )

    @abstractmethod
    def check_stride(self, image_size: ImageSize, stride: int) -> None:
        """Refuse strides that this kind does not take, at all or for images of a size.

        Raises:
            ConfigurationError: With what it takes.
        """

    @abstractmethod
    def build_image_tower(self, plan: "EncoderPlan") -> ImageTower:
        """Build the tower with random weights, positions on `pretraining_grid`, no cameras.

        Draws from torch's global generator.
        """


class WithoutDrawing(TorchFunctionMode):
    """Builds modules without storage and leaves out the draws of their initialisers.

    On the device "meta" nothing would be drawn either, but asking it to loads torch's compiler,
    which takes as long as torch itself.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401  (whatever torch's functions return)
        """Pass all calls on but those that draw in place, and divide what was drawn."""
        kwargs = kwargs or {}
        if func in _LEFT_OUT:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


_LEFT_OUT = (
    Tensor.normal_,
    Tensor.uniform_,
    Tensor.div_,
    nn.init.normal_,
    nn.init.uniform_,
    nn.init.kaiming_uniform_,
)


def drawn(*shape: int, std: float) -> nn.Parameter:
    """Draw a parameter from N(0, std^2)."""
    return nn.Parameter(torch.empty(shape).normal_().mul_(std))


def count_children(image: Mapping[str, Tensor], parent: str) -> int:
    """Count a module's children by the names of an image tower's weights."""
    prefix = IMAGE_PREFIX + parent
    return len(
        {name.removeprefix(prefix).split(".")[0] for name in image if name.startswith(prefix)}
    )


def length_of(image: Mapping[str, Tensor], name: str, axis: int) -> int:
    """Read a length off the shape of one of an image tower's weights; 0 where it is not there."""
    value = image.get(IMAGE_PREFIX + name)
    return value.shape[axis] if value is not None and value.ndim > axis else 0


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
