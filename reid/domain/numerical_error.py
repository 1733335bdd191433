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

    angle: float
    """Largest 1 - cos between a vector and its reference, the references' mean taken off both."""

    relative: float
    """Largest difference of an entry, as a share of the references' largest entry."""


def measure_error(reference: Tensor, candidate: Tensor, *, mean: Tensor) -> NumericalError:
    """Compare features row by row in float64.

    All images' features share a large part that ranks nothing, and beside which any error looks
    small. So the angle is taken after its removal: 1 - cos(r - mean, c - mean).

    Args:
        reference: (N, D) what should come out.
        candidate: (N, D) what came out.
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

    Unlike plain noise, which an encoder hardly tells apart, they spread its features as images
    do.

    Returns:
        (N, 3, H, W) float32, normalised.
    """
    size = geometry.image_size
    patches = torch.randn(count, 3, *_PATCHES, generator=generator)
    smooth = F.interpolate(
        patches, size=(size.height, size.width), mode="bilinear", align_corners=False
    )
    return smooth + _NOISE * torch.randn(smooth.shape, generator=generator)
