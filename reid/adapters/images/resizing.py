"""Images resized to one size, with the same pixels as Pillow's, and to thumbnails.

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

LARGEST_BATCHED_FACTOR = 8  # a test compares every pair of bytes up to this factor
THUMBNAIL_QUALITY = 80  # about 2.5 kB for a person of 128 x 64 pixels
WIDEST_THUMBNAIL = 3  # largest ratio of a thumbnail's width to the requested height


def resize(
    images: Sequence[NDArray[np.uint8]], *, size: ImageSize, resampling: Resampling
) -> NDArray[np.uint8]:
    """Resize images to one size, antialiased, without keeping their aspect ratio.

    From B of (h, w, 3) uint8, of any sizes, to (B, H, W, 3) uint8, equal to Pillow's.
    """
    shapes = {pixels.shape[:2] for pixels in images}
    if len(shapes) == 1 and _is_equal_batched(*shapes.pop(), size=size, resampling=resampling):
        stored = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)  # (B, 3, h, w)
        enlarged = F.interpolate(
            stored, (size.height, size.width), mode="bilinear", antialias=True, align_corners=False
        )
        return enlarged.permute(0, 2, 3, 1).numpy()  # (B, H, W, 3)
    kernel = Image.Resampling[resampling.name]
    resized = (
        Image.fromarray(pixels).resize((size.width, size.height), kernel) for pixels in images
    )
    return np.stack([np.asarray(image, dtype=np.uint8) for image in resized])


def encode_thumbnail(pixels: NDArray[np.uint8], *, height: int) -> bytes:
    """Shrink (H, W, 3) uint8 RGB to a JPEG without metadata, keeping the aspect ratio.

    Images of at most `height` pixels keep their size.
    """
    image = Image.fromarray(pixels)
    image.thumbnail((WIDEST_THUMBNAIL * height, height), Image.Resampling.LANCZOS)
    content = BytesIO()
    image.save(content, "JPEG", quality=THUMBNAIL_QUALITY, optimize=True)
    return content.getvalue()


def _is_equal_batched(height: int, width: int, *, size: ImageSize, resampling: Resampling) -> bool:
    """Whether torch's batched resize gives Pillow's bytes.

    Both resize rows, then columns, in integer arithmetic: sum_i w_i p_i, rounded to a byte. Pillow
    keeps 22 bits of a weight w_i and torch at most 15, so sums can round differently. The bilinear
    filter makes a byte from at most two bytes when it enlarges n times, and for n up to 8 the
    results are equal for all pairs of bytes (tested). Bicubic results and other ratios differ by up
    to 2.
    """
    factors = (size.height / height, size.width / width)
    return resampling is Resampling.BILINEAR and all(
        factor.is_integer() and factor <= LARGEST_BATCHED_FACTOR for factor in factors
    )
