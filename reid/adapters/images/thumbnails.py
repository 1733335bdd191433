"""Small JPEGs of pictures.

Letters: H W pixels.
"""

from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

QUALITY = 80
"""About 2.5 kB for a person of 128 x 64 pixels."""

WIDEST = 3
"""Wide pictures are at most so many times as wide as the height asked for."""


def encode_thumbnail(pixels: NDArray[np.uint8], *, height: int) -> bytes:
    """Shrink a picture and write it as a JPEG without any metadata; the aspect ratio stays.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        height: At most so many pixels; smaller pictures keep their size.
    """
    image = Image.fromarray(pixels)
    image.thumbnail((WIDEST * height, height), Image.Resampling.LANCZOS)
    content = BytesIO()
    image.save(content, "JPEG", quality=QUALITY, optimize=True)
    return content.getvalue()
