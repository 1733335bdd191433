"""A faster decoder for the JPEGs that cameras write, where the extra `fast` is installed."""

from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray
from PIL import Image

if find_spec("simplejpeg") is not None:
    from simplejpeg import decode_jpeg, decode_jpeg_header

    IS_FAST = True
else:
    IS_FAST = False

_BASELINE = b"\xff\xc0"
_EXIF_OR_XMP = b"\xff\xe1"
"""Both may say which way is up."""


def decode_plain_jpeg(data: bytes) -> NDArray[np.uint8] | None:
    """Decode a baseline colour JPEG without an orientation.

    Both simplejpeg and Pillow use libjpeg-turbo, with its accurate DCT and smooth chroma
    upsampling, so the pixels are the same.

    Returns:
        (H, W, 3) uint8 RGB; None for everything that is left to Pillow: other files, those that
        libjpeg-turbo complains about, and sizes that Pillow refuses.
    """
    if not IS_FAST or _BASELINE not in data or _EXIF_OR_XMP in data:
        return None
    try:
        height, width, colour_space, _ = decode_jpeg_header(data)
        limit = Image.MAX_IMAGE_PIXELS
        if colour_space != "YCbCr" or (limit is not None and height * width > limit):
            return None
        # Strict: a warning is an error. Truncated images are then left for Pillow to refuse.
        pixels: NDArray[np.uint8] = decode_jpeg(data, colorspace="RGB", strict=True)
    except ValueError:
        return None
    return pixels
