"""The interface of image towers of all families, their inputs, and their weights' initialisation.

Letters: B batch, D width, H W pixels, N cameras, h w rows and columns of the position grid.
"""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from reid.domain.errors import EncoderError
from reid.domain.values.counts import counted
from reid.domain.values.encoders import EncoderGeometry
from reid.domain.values.explanations import ImageTrace
from reid.domain.values.features import ImageFeatures


class Grid(NamedTuple):
    """Rows and columns of positions, numbered row by row."""

    height: int
    width: int

    @property
    def num_positions(self) -> int:
        """Positions without the class or mean token."""
        return self.height * self.width


class Visual(nn.Module):
    """The image half of a model; a family subclasses it."""

    suits_channels_last: ClassVar[bool] = False
    """Whether bfloat16 is faster with the channels of a pixel side by side.

    1.6 times for a ResNet, but no faster in float32, which so keeps its last bits.
    """

    is_faster_channels_last: ClassVar[bool] = False
    """Whether float32 is faster so too."""

    def redraw(self) -> None:
        """Draw again the random weights that torch's initialisation scales badly."""

    def forward(self, images: Tensor, cameras: Tensor | None) -> ImageFeatures:
        """Encode (B, 3, H, W) float32 images; `cameras` are their (B, D) embeddings, or None."""
        raise NotImplementedError

    def trace(self, images: Tensor, cameras: Tensor | None) -> ImageTrace:
        """Encode images, and return the attention or the map that the features come from.

        Unlike in `forward`, attention is computed for all tokens and outside torch's kernels, so
        that it can be shown and differentiated.
        """
        raise NotImplementedError


class ImageTower(nn.Module):
    """A model's image half, and embeddings of cameras.

    Camera embeddings: TransReID, He et al. 2021, arXiv:2102.04378, section 3.3 (SIE).
    """

    cv_embed: nn.Parameter | None  # (N, D) camera embeddings, None where the tower has none

    def __init__(self, visual: Visual, *, camera_scale: float) -> None:
        """Begin without camera embeddings; `camera_scale` is their weight in the sum."""
        super().__init__()
        self.register_parameter("cv_embed", None)
        self.camera_scale = camera_scale
        self.image_encoder = visual

    def forward(self, images: Tensor, camids: Tensor | None) -> ImageFeatures:
        """Encode (B, 3, H, W) float32 images; camids are (B,) int64 within the known, or None."""
        features: ImageFeatures = self.image_encoder(images, self._cameras(camids))
        return features

    def trace(self, images: Tensor, camids: Tensor | None) -> ImageTrace:
        """Encode images and show how; see `Visual`."""
        return self.image_encoder.trace(images, self._cameras(camids))

    def _cameras(self, camids: Tensor | None) -> Tensor | None:
        if self.cv_embed is None or camids is None:
            return None
        return self.camera_scale * self.cv_embed[camids]


def check_inputs(
    images: Tensor, camids: Tensor | None, *, geometry: EncoderGeometry, weights: str
) -> None:
    """Check (B, 3, H, W) images, and (B,) zero-based cameras where the encoder knows any.

    Raises:
        EncoderError: A camera beyond those the encoder knows; the message names the `weights`.
        ValueError: Images of another size, or not one camera per image.
    """
    size = geometry.image_size
    if images.shape[1:] != (3, size.height, size.width):
        raise ValueError(f"images must be (B, 3, {size}), got {tuple(images.shape)}")
    if camids is None or geometry.num_cameras == 0:
        return
    if len(camids) != len(images):
        raise ValueError(f"{len(images)} images, {len(camids)} camids")
    unknown = camids[(camids < 0) | (camids >= geometry.num_cameras)]
    if len(unknown):
        raise EncoderError(
            f"camera {int(unknown[0])} (zero-based) is unknown: the weights {weights} know "
            f"{counted(geometry.num_cameras, 'camera')}; leave cameras out, or train with more"
        )


class WithoutDrawing(TorchFunctionMode):
    """Skips the initialisers of modules that are built without storage.

    On the device "meta" they would draw nothing, but load torch's compiler, which takes as long as
    torch itself.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401  (whatever torch's functions return)
        """Pass on all calls except those of initialisers."""
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


def resize_positions(
    positions: Tensor, *, source: Grid, target: Grid, num_tokens: int = 1
) -> Tensor:
    """Stretch position embeddings over another grid.

    Bilinear, half-pixel centres, no antialiasing, as CLIP-ReID does; open_clip's own resize is
    bicubic and antialiased and gives other features.

    From (1 + source positions, D) to (1 + target positions, D); row 0 belongs to the class or mean
    token, or as many rows to tokens as there are. Returns `positions` itself where the grids agree.
    """
    if source == target:
        return positions
    tokens, cells = positions[:num_tokens], positions[num_tokens:]
    cells = cells.T.reshape(1, -1, *source)  # (1, D, h, w)
    cells = F.interpolate(cells, size=tuple(target), mode="bilinear", align_corners=False)
    return torch.cat([tokens, cells.flatten(2)[0].T])  # (1 + P, D)
