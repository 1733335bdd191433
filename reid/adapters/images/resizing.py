"""Images to one size, pixel by pixel as Pillow's resize makes them, and to thumbnails.

Letters: B images, H W pixels.
"""

from collections.abc import Sequence
from io import BytesIO

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional as F

from reid.domain.values.samples import ImageSize, Resampling

LARGEST_BATCHED_FACTOR = 8
"""Up to here a test compares every pair of bytes."""

THUMBNAIL_QUALITY = 80
"""About 2.5 kB for a person of 128 x 64 pixels."""

WIDEST_THUMBNAIL = 3
"""Wide images are at most so many times as wide as the height asked for."""

_FILTERS = {
    Resampling.BILINEAR: Image.Resampling.BILINEAR,
    Resampling.BICUBIC: Image.Resampling.BICUBIC,
}


def resize(
    images: Sequence[NDArray[np.uint8]], *, size: ImageSize, resampling: Resampling
) -> NDArray[np.uint8]:
    """Resize images to one size, antialiased, their aspect ratio given up.

    Args:
        images: B of (h, w, 3) uint8, each of a size of its own.
        size: H and W.
        resampling: Filter.

    Returns:
        (B, H, W, 3) uint8, equal to Pillow's.
    """
    shapes = {pixels.shape[:2] for pixels in images}
    if len(shapes) == 1 and _is_equal_batched(*shapes.pop(), size=size, resampling=resampling):
        return _resize_batch(np.stack(images), size)
    return np.stack([_resize_one(pixels, size, _FILTERS[resampling]) for pixels in images])


def encode_thumbnail(pixels: NDArray[np.uint8], *, height: int) -> bytes:
    """Shrink a pixels and write it as a JPEG without any metadata; the aspect ratio stays.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        height: At most so many pixels; smaller images keep their size.
    """
    image = Image.fromarray(pixels)
    image.thumbnail((WIDEST_THUMBNAIL * height, height), Image.Resampling.LANCZOS)
    content = BytesIO()
    image.save(content, "JPEG", quality=THUMBNAIL_QUALITY, optimize=True)
    return content.getvalue()


def _is_equal_batched(height: int, width: int, *, size: ImageSize, resampling: Resampling) -> bool:
    """Whether torch's batched resize gives Pillow's bytes.

    Both resize rows, then columns, in integer arithmetic: sum_i w_i p_i, rounded to a byte. Pillow
    keeps 22 bits of a weight w_i and torch at most 15, so sums can round differently. Enlarged n
    times by the bilinear filter, a byte comes of two bytes at most, and for n up to 8 all pairs of
    bytes come out equal (tested). Bicubic ones and other ratios do not: up to 2 levels apart.
    """
    factors = (size.height / height, size.width / width)
    return resampling is Resampling.BILINEAR and all(
        factor.is_integer() and factor <= LARGEST_BATCHED_FACTOR for factor in factors
    )


def _resize_batch(images: NDArray[np.uint8], size: ImageSize) -> NDArray[np.uint8]:
    stored = torch.from_numpy(images).permute(0, 3, 1, 2)  # (B, 3, h, w)
    resized = F.interpolate(
        stored, (size.height, size.width), mode="bilinear", antialias=True, align_corners=False
    )
    return resized.permute(0, 2, 3, 1).numpy()  # (B, H, W, 3)


def _resize_one(
    pixels: NDArray[np.uint8], size: ImageSize, resampling: Image.Resampling
) -> NDArray[np.uint8]:
    image = Image.fromarray(pixels).resize((size.width, size.height), resampling)
    return np.asarray(image, dtype=np.uint8)
