"""Picture files to tensors: the only place where pixels are decoded.

Letters: B batch, H W pixels.
"""

import struct
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from reid.domain.errors import DatasetError
from reid.domain.values.samples import ImageSize, Resampling, UnreadableImage

PICTURE_ENDINGS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})
"""File endings that count as pictures, in any case."""

NUM_THREADS = 4
"""Pillow lets go of the interpreter's lock while it decodes and resizes."""

_FILTERS = {
    Resampling.BILINEAR: Image.Resampling.BILINEAR,
    Resampling.BICUBIC: Image.Resampling.BICUBIC,
}

_DECODER_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    TypeError,
    ArithmeticError,
    LookupError,
    EOFError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)
"""Pillow's decoders raise all of these on damaged files."""

_Result = TypeVar("_Result")


class PictureFiles:
    """Picture files under one folder, named by their path from there with `/` between parts."""

    def __init__(self, root: Path) -> None:
        """Remember the folder; nothing is touched yet."""
        self._root = root

    def read(self, images: Sequence[str], *, size: ImageSize, resampling: Resampling) -> Tensor:
        """Decode and resize, as the `ImageReader` port asks.

        Raises:
            DatasetError: A picture cannot be read.
        """
        return read_images([self._root / image for image in images], size, resampling)

    def find_unreadable(self, images: Sequence[str]) -> tuple[UnreadableImage, ...]:
        """Decode every picture in full and list those that fail."""
        reasons = _map_in_threads(_reason_unreadable, [self._root / image for image in images])
        return tuple(
            UnreadableImage(image=image, reason=reason)
            for image, reason in zip(images, reasons, strict=True)
            if reason is not None
        )


def is_picture_name(name: str) -> bool:
    """Tell pictures from other files by their ending; dot files are never pictures."""
    return not name.startswith(".") and Path(name).suffix.lower() in PICTURE_ENDINGS


def read_images(paths: Sequence[Path], size: ImageSize, resampling: Resampling) -> Tensor:
    """Decode pictures, turn them upright and resize them.

    Args:
        paths: B regular files.
        size: What every picture is resized to.
        resampling: Filter of Pillow's own antialiased resize, which the reference uses too.

    Returns:
        (B, 3, H, W) uint8 RGB, contiguous, in the order of the paths.

    Raises:
        DatasetError: A picture is missing, damaged, truncated, or suspiciously large.
    """
    if not paths:
        return torch.empty((0, 3, size.height, size.width), dtype=torch.uint8)

    def read(path: Path) -> NDArray[np.uint8]:
        try:
            image = _decode(path)
        except _DECODER_ERRORS as error:
            raise DatasetError(
                f"{path} cannot be read: {_describe(error)}; replace the picture or remove it"
            ) from error
        resized = image.resize((size.width, size.height), _FILTERS[resampling])
        return np.asarray(resized, dtype=np.uint8)  # (H, W, 3)

    pixels = torch.from_numpy(np.stack(_map_in_threads(read, paths)))  # (B, H, W, 3)
    return pixels.permute(0, 3, 1, 2).contiguous()  # (B, 3, H, W)


def _decode(path: Path) -> Image.Image:
    # A named pipe would block for ever, a device could do anything.
    if not path.is_file():
        raise OSError("not a regular file" if path.exists() else "no such file")
    with Image.open(path) as image:
        # Differs from CLIP-ReID, which ignores EXIF: telephones store portraits lying down.
        # Market-1501 carries no EXIF, so its pixels are the same.
        upright: Image.Image = ImageOps.exif_transpose(image)
        return upright.convert("RGB")


def _reason_unreadable(path: Path) -> str | None:
    try:
        _decode(path)
    except _DECODER_ERRORS as error:
        return _describe(error)
    return None


def _describe(error: BaseException) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not a picture that Pillow knows"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _map_in_threads(work: Callable[[Path], _Result], paths: Sequence[Path]) -> list[_Result]:
    with _strict_about_size(), ThreadPoolExecutor(max_workers=NUM_THREADS) as pool:
        return list(pool.map(work, paths))


@contextmanager
def _strict_about_size() -> Iterator[None]:
    """Make Pillow's warning of a decompression bomb an error, and hush its other warnings.

    The filters are the whole process's, so they are set once around the threads.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield
