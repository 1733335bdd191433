"""How far one way of computing features is from another.

Letters: N images, D width, C cameras, H W pixels.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from reid.domain.values.encoders import EncoderGeometry

_PATCHES = (8, 4)
_NOISE = 0.1


@dataclass(frozen=True, slots=True)
class NumericalError:
    """The worst of a batch."""

    angle: float  # largest 1 - cos of a vector and its reference, less the references' mean
    relative: float  # largest difference of an entry, as a share of the references' largest entry


def measure_error(reference: Tensor, candidate: Tensor, *, mean: Tensor) -> NumericalError:
    """Compare features row by row in float64.

    The features of all images share a large part that ranks nothing and makes any error look small.
    So the angle is taken without it: 1 - cos(r - mean, c - mean).

    Args:
        reference: (N, D), expected.
        candidate: (N, D), found.
        mean: (D,) mean over reference features of several images.

    Returns:
        Infinite where the candidate is not finite.
    """
    wanted, got, centre = (tensor.double() for tensor in (reference, candidate, mean))
    if not got.isfinite().all():
        return NumericalError(angle=float("inf"), relative=float("inf"))
    cosines = F.cosine_similarity(wanted - centre, got - centre, dim=1)  # (N,)
    return NumericalError(
        angle=max(0.0, 1 - cosines.min().item()),
        relative=((got - wanted).abs().max() / wanted.abs().max()).item(),
    )


def probe_images(geometry: EncoderGeometry, count: int, *, generator: torch.Generator) -> Tensor:
    """Draw images to compare encoders on: smooth patches of colour under a little noise.

    They spread an encoder's features as photographs do; plain noise hardly does.

    Returns:
        (N, 3, H, W) float32, normalised.
    """
    size = geometry.image_size
    patches = torch.randn(count, 3, *_PATCHES, generator=generator)
    smooth = F.interpolate(
        patches, size=(size.height, size.width), mode="bilinear", align_corners=False
    )
    return smooth + _NOISE * torch.randn(smooth.shape, generator=generator)
