"""Image files to pixels: the only place where they are decoded.

Letters: H W pixels.
"""

import hashlib
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from io import BytesIO
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from reid.adapters.images.wholeness import (
    JPEG_SIGNATURE,
    PNG_SIGNATURE,
    require_whole_jpeg,
    require_whole_png,
)

if find_spec("simplejpeg") is not None:
    from simplejpeg import decode_jpeg, decode_jpeg_header

    IS_FAST = True
else:
    IS_FAST = False  # the extra `fast` is not installed

IMAGE_FORMATS = ("JPEG", "PNG", "BMP", "WEBP")
"""Formats that are decoded, whatever the file's ending. Pillow knows more, some of which start
other programs."""

DECODER_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    TypeError,
    ArithmeticError,
    LookupError,
    EOFError,
    MemoryError,
    RuntimeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)
"""Pillow's decoders raise all of these on damaged files."""

_BASELINE_JPEG = b"\xff\xc0"
_EXIF_OR_XMP = b"\xff\xe1"  # both may say which way is up
Content: TypeAlias = bytes | NDArray[np.uint8]  # an image's file, or its (H, W, 3) RGB pixels


def decode(content: Content) -> NDArray[np.uint8]:
    """Decode an image, upright and in full: (H, W, 3) uint8 RGB.

    Raises:
        DECODER_ERRORS: It is damaged, truncated, suspiciously large, or not an image.
    """
    if not isinstance(content, bytes):
        return content
    pixels = decode_plain_jpeg(content)
    if pixels is not None:
        return pixels
    if content.startswith(PNG_SIGNATURE):
        require_whole_png(content)
    pixels = _decode_by_pillow(content)
    if content.startswith(JPEG_SIGNATURE):
        require_whole_jpeg(content, pixels, decode=_decode_by_pillow)
    return pixels


def pixels_of(image: Image.Image) -> NDArray[np.uint8]:
    """Turn an image of Pillow's upright: (H, W, 3) uint8 RGB, in memory of its own.

    Raises:
        DECODER_ERRORS: Its file is damaged, or closed.
    """
    # Differs from CLIP-ReID, which ignores EXIF: telephones store portraits lying down.
    # Market-1501 has no EXIF, so its pixels are the same.
    upright: Image.Image = ImageOps.exif_transpose(image)
    return np.asarray(_in_eight_bits(upright).convert("RGB"), dtype=np.uint8)


def decode_plain_jpeg(data: bytes) -> NDArray[np.uint8] | None:
    """Decode a baseline colour JPEG without an orientation; None leaves the file to Pillow.

    Both simplejpeg and Pillow use libjpeg-turbo, with its accurate DCT and smooth chroma
    upsampling, so the pixels are the same.
    """
    if not IS_FAST or _BASELINE_JPEG not in data or _EXIF_OR_XMP in data:
        return None
    try:
        height, width, colour_space, _ = decode_jpeg_header(data)
        if colour_space != "YCbCr" or _is_bomb(height * width):
            return None
        # Strict: a warning is an error. Truncated images are then left for Pillow to refuse.
        pixels: NDArray[np.uint8] = decode_jpeg(data, colorspace="RGB", strict=True)
    except ValueError:
        return None
    return pixels


def digest_of_content(content: Content) -> str:
    """Digest an image's bytes."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    shape = f"pixels {content.shape}\n".encode()
    return hashlib.sha256(shape + content.tobytes()).hexdigest()


def describe_decoder_error(error: BaseException) -> str:
    """Summarise a decoder's error."""
    if isinstance(error, UnidentifiedImageError):
        return "not an image that Pillow knows"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).rstrip(".") or type(error).__name__


@contextmanager
def strict_about_size() -> Iterator[None]:
    """Turn Pillow's warning about decompression bombs into an error, and hide its other warnings.

    The filters apply to the whole process, so they are set once around the threads.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def _decode_by_pillow(data: bytes) -> NDArray[np.uint8]:
    with Image.open(BytesIO(data), formats=IMAGE_FORMATS) as image:
        # Pillow only warns, and other threads may lose its warning.
        if _is_bomb(image.width * image.height):
            raise Image.DecompressionBombError(
                f"{image.width} x {image.height} pixels, more than {Image.MAX_IMAGE_PIXELS}: could "
                "be a decompression bomb"
            )
        return pixels_of(image)


def _is_bomb(num_pixels: int) -> bool:
    return Image.MAX_IMAGE_PIXELS is not None and num_pixels > Image.MAX_IMAGE_PIXELS


def _in_eight_bits(image: Image.Image) -> Image.Image:
    """Keep the upper half of 16-bit grey; Pillow's own conversion makes nearly all of it white."""
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
