"""Images as programs hold them: converted to the content of a file, or to RGB pixels.

Letters: N images, H W pixels.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from reid.adapters.images.decoding import (
    DECODER_ERRORS,
    Content,
    describe_decoder_error,
    pixels_of,
)
from reid.domain.errors import DatasetError

CHANNELS = ("rgb", "bgr")
"""Orders of an array's colours: Pillow, imageio and torchvision give RGB, OpenCV gives BGR."""

_ACCEPTED = (
    "give a path, the bytes of an image file, an open binary file, a PIL image, or (H, W, 3) pixels"
)
_BYTES = (bytes, bytearray, memoryview)


@runtime_checkable
class BinaryFile(Protocol):
    """An open file, or anything else that is read as one."""

    def read(self) -> bytes:
        """Return what is left of it."""
        ...


ImageLike: TypeAlias = (
    str | Path | bytes | bytearray | memoryview | BinaryFile | Image.Image | NDArray[Any]
)
"""A path, the content of an image file, an open binary file, a PIL image, or (H, W, 3) pixels of
uint8 in 0..255 or of floats in 0..1."""


def require_channels(channels: str) -> None:
    """Raise a DatasetError for an unknown order of colours."""
    if channels not in CHANNELS:
        raise DatasetError(
            f"channels={channels!r} is no order of colours: give 'rgb', or 'bgr' for pixels of "
            "OpenCV"
        )


def is_single(images: object) -> bool:
    """Whether an argument is one image, and not many."""
    if isinstance(images, np.ndarray):
        return images.ndim != 4
    if isinstance(images, (str, Path, Image.Image, BinaryFile, *_BYTES)):
        return True
    return not isinstance(images, Iterable) or _is_tensor(images) or isinstance(images, dict | set)


def convert(image: object, *, channels: str, what: str) -> Path | Content:
    """Convert an image to its path, the content of its file, or its (H, W, 3) uint8 RGB pixels.

    `channels` is the order of an array's colours; files and PIL images know their own. Errors call
    the image `what`.

    Raises:
        DatasetError: It is no image, or of a type or shape that is not accepted.
    """
    if isinstance(image, str | Path):
        return Path(image)
    if isinstance(image, _BYTES):
        return bytes(image)
    if isinstance(image, np.ndarray):
        return _rgb_pixels(image, channels=channels, what=what)
    if isinstance(image, Image.Image):
        try:
            return pixels_of(image)
        except DECODER_ERRORS as error:
            raise DatasetError(
                f"{what}, a PIL image, cannot be read: {describe_decoder_error(error)}"
            ) from error
    if isinstance(image, BinaryFile):
        return _content_of(image, what=what)
    raise DatasetError(f"{what} is {_description(image)}")


def _description(stranger: object) -> str:
    """Say what was given instead of an image, and what to give."""
    if stranger is None:
        return f"None: cv2.imread returns None for a file that it cannot read; {_ACCEPTED}"
    if _is_tensor(stranger):
        return (
            "a torch.Tensor: give an array, (H, W, 3), such as "
            "tensor.permute(1, 2, 0).cpu().numpy()"
        )
    return f"of the type {type(stranger).__name__}: {_ACCEPTED}"


def _is_tensor(image: object) -> bool:
    return hasattr(image, "permute") and hasattr(image, "numpy")


def _content_of(file: BinaryFile, *, what: str) -> bytes:
    try:
        content = file.read()
    except (OSError, ValueError) as error:  # a closed file raises ValueError
        raise DatasetError(f"{what}, an open file, cannot be read: {error}") from error
    if not isinstance(content, bytes):
        raise DatasetError(f"{what} is a file opened as text: open it as 'rb'")
    if not content:
        raise DatasetError(f"{what}, an open file, has nothing left to read: seek(0) first")
    return content


def _rgb_pixels(pixels: NDArray[Any], *, channels: str, what: str) -> NDArray[np.uint8]:
    is_float = pixels.dtype.kind == "f"
    if pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise DatasetError(
            f"{what} is an array of {pixels.shape} {pixels.dtype}: pixels must be (H, W, 3), uint8 "
            f"or floats in 0..1{_reshape_advice(pixels)}"
        )
    if pixels.dtype != np.uint8 and not is_float:
        raise DatasetError(
            f"{what} is an array of {pixels.dtype}: pixels must be uint8 in 0..255 or floats in "
            "0..1; convert them, such as by astype(numpy.uint8)"
        )
    if is_float:
        low, high = float(pixels.min()), float(pixels.max())
        if not (low >= 0 and high <= 1):  # also where they are not numbers
            raise DatasetError(
                f"{what} holds floats in {low:g}..{high:g}: give them in 0..1, or as uint8 in "
                "0..255"
            )
        pixels = np.rint(pixels * 255).astype(np.uint8)
    ordered = pixels[:, :, ::-1] if channels == "bgr" else pixels
    return np.ascontiguousarray(ordered)


def _reshape_advice(pixels: NDArray[Any]) -> str:
    match pixels.shape:
        case (3, _, _):
            return "; channels come last: transpose(1, 2, 0)"
        case (_, _):
            return "; repeat grey: numpy.stack([grey] * 3, axis=2)"
        case (_, _, 4):
            return "; leave the alpha channel out: pixels[:, :, :3]"
        case _:
            return ""
