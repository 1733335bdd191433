"""Image files to pixels: the only place where they are decoded.

Letters: H W pixels.
"""

import hashlib
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from reid.adapters.images.jpegs import decode_plain_jpeg
from reid.adapters.images.wholeness import (
    JPEG_SIGNATURE,
    PNG_SIGNATURE,
    require_whole_jpeg,
    require_whole_png,
)

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

Content: TypeAlias = bytes | NDArray[np.uint8]
"""An image's file, or its (H, W, 3) RGB pixels."""


def decode(content: Content) -> NDArray[np.uint8]:
    """Decode an image, upright and in full.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        DECODER_ERRORS: It is damaged, truncated, suspiciously large, or not an image.
    """
    if not isinstance(content, bytes):
        return content
    pixels = decode_plain_jpeg(content)
    return _decode_by_pillow(content) if pixels is None else pixels


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
    if data.startswith(PNG_SIGNATURE):
        require_whole_png(data)
    pixels = _decode_anything(data)
    if data.startswith(JPEG_SIGNATURE):
        require_whole_jpeg(data, pixels, decode=_decode_anything)
    return pixels


def _decode_anything(data: bytes) -> NDArray[np.uint8]:
    with Image.open(BytesIO(data), formats=IMAGE_FORMATS) as image:
        _refuse_bomb(image)
        # Differs from CLIP-ReID, which ignores EXIF: telephones store portraits lying down.
        # Market-1501 has no EXIF, so its pixels are the same.
        upright: Image.Image = ImageOps.exif_transpose(image)
        return np.asarray(_in_eight_bits(upright).convert("RGB"), dtype=np.uint8)


def _refuse_bomb(image: Image.Image) -> None:
    """Refuse what Pillow only warns about; other threads may lose its warning."""
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and image.width * image.height > limit:
        raise Image.DecompressionBombError(
            f"{image.width} x {image.height} pixels, more than {limit}: could be a decompression "
            "bomb"
        )


def _in_eight_bits(image: Image.Image) -> Image.Image:
    """Keep the upper half of 16-bit grey; Pillow's own conversion makes nearly all of it white."""
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
