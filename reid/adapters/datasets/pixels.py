"""Picture files to tensors: the only place where pixels are decoded.

Letters: B batch, H W pixels.
"""

import hashlib
import math
import os
import re
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from itertools import chain
from pathlib import Path
from threading import Lock
from typing import TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from reid.adapters.datasets.jpegs import decode_plain_jpeg
from reid.adapters.datasets.resizing import resize
from reid.adapters.datasets.thumbnails import encode_thumbnail
from reid.adapters.datasets.wholeness import (
    JPEG_SIGNATURE,
    PNG_SIGNATURE,
    require_whole_jpeg,
    require_whole_png,
)
from reid.domain.errors import DatasetError
from reid.domain.values.samples import ImageSize, Resampling, UnreadableImage

PICTURE_ENDINGS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})
"""File endings that count as pictures, in any case."""

PICTURE_FORMATS = ("JPEG", "PNG", "BMP", "WEBP")
"""What is decoded, whatever a file's ending says. Pillow knows many more, some of which start other
programs."""

MOST_BYTES = 512 * 2**20
"""Of a picture's file; Pillow's most pixels fit into it as they are."""

NUM_THREADS = min(os.cpu_count() or 1, 8)
"""Decoders and resizers let go of the interpreter's lock."""

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

_UNWRITABLE = re.compile(r"\\x[0-9a-f]{2}")
"""What `readable_name` writes for bytes that are no UTF-8."""

Content: TypeAlias = bytes | NDArray[np.uint8]
"""A picture's file, or its (H, W, 3) RGB pixels."""

_Result = TypeVar("_Result")


class PictureContents:
    """Pictures by name, wherever their contents come from."""

    def __init__(
        self,
        content_of: Callable[[str], Content],
        *,
        called: Callable[[str], str],
        num_kept_bytes: int = 0,
    ) -> None:
        """Remember where contents come from; nothing is read yet.

        Args:
            content_of: Gives a picture's file, or its pixels; raises OSError where there is none.
            called: What to call a picture in errors.
            num_kept_bytes: How much of what `find_unreadable` decodes to keep until it is read.
        """
        self._content_of = content_of
        self._called = called
        self._room = num_kept_bytes
        self._kept: dict[str, NDArray[np.uint8]] = {}
        self._keeping = Lock()

    def read(self, images: Sequence[str], *, size: ImageSize, resampling: Resampling) -> Tensor:
        """Decode and resize, as the `ImageReader` port asks.

        Args:
            images: B names.
            size: H and W.
            resampling: Filter of the resize.

        Returns:
            (B, 3, H, W) uint8 RGB, channels last in memory, in the order of the names.

        Raises:
            DatasetError: A picture is missing, damaged, truncated, or suspiciously large.
        """

        def read_run(rows: slice) -> NDArray[np.uint8]:
            decoded = [self._require(image) for image in images[rows]]
            return resize(decoded, size=size, resampling=resampling)

        runs = _in_threads(read_run, len(images))
        none = np.empty((0, size.height, size.width, 3), dtype=np.uint8)
        pixels = runs[0] if len(runs) == 1 else np.concatenate([none, *runs])  # (B, H, W, 3)
        return torch.from_numpy(pixels).permute(0, 3, 1, 2)  # (B, 3, H, W)

    def find_unreadable(self, images: Sequence[str]) -> tuple[UnreadableImage, ...]:
        """Decode every picture in full and list those that fail."""

        def check(rows: slice) -> list[UnreadableImage]:
            reasons = [(image, self._reason_unreadable(image)) for image in images[rows]]
            return [UnreadableImage(image, reason) for image, reason in reasons if reason]

        return tuple(chain.from_iterable(_in_threads(check, len(images))))

    def thumbnails(self, images: Sequence[str], *, height: int) -> tuple[bytes | None, ...]:
        """Make small JPEGs, as the `ImageReader` port asks."""

        def shrink(rows: slice) -> list[bytes | None]:
            return [self._thumbnail(image, height=height) for image in images[rows]]

        return tuple(chain.from_iterable(_in_threads(shrink, len(images))))

    def _thumbnail(self, image: str, *, height: int) -> bytes | None:
        try:
            return encode_thumbnail(_decode(self._content_of(image)), height=height)
        except DECODER_ERRORS:
            return None

    def content_digests(self, images: Sequence[str]) -> tuple[str, ...]:
        """Digest the bytes of every file; empty for one that cannot be read."""

        def digest(rows: slice) -> list[str]:
            return [self._digest(image) for image in images[rows]]

        return tuple(chain.from_iterable(_in_threads(digest, len(images))))

    def _require(self, image: str) -> NDArray[np.uint8]:
        kept = self._take(image)
        if kept is not None:
            return kept
        try:
            return _decode(self._content_of(image))
        except DECODER_ERRORS as error:
            raise DatasetError(
                f"{self._called(image)} cannot be read: {describe_decoder_error(error)}; replace "
                "the picture or remove it"
            ) from error

    def _digest(self, image: str) -> str:
        try:
            return digest_of_content(self._content_of(image))
        except OSError:
            return ""

    def _reason_unreadable(self, image: str) -> str | None:
        try:
            decoded = _decode(self._content_of(image))
        except DECODER_ERRORS as error:
            return describe_decoder_error(error)
        self._keep(image, decoded)
        return None

    def _keep(self, image: str, decoded: NDArray[np.uint8]) -> None:
        with self._keeping:
            if decoded.nbytes <= self._room and image not in self._kept:
                self._room -= decoded.nbytes
                self._kept[image] = decoded

    def _take(self, image: str) -> NDArray[np.uint8] | None:
        with self._keeping:
            kept = self._kept.pop(image, None)
            self._room += 0 if kept is None else kept.nbytes
            return kept


class PictureFiles(PictureContents):
    """Picture files under one folder, named by their path from there with `/` between parts."""

    def __init__(self, root: Path, *, num_kept_bytes: int = 0) -> None:
        """Remember the folder; nothing is touched yet.

        Args:
            root: The folder.
            num_kept_bytes: See `PictureContents`.
        """
        super().__init__(
            lambda image: read_file(root / image),
            called=lambda image: str(root / image),
            num_kept_bytes=num_kept_bytes,
        )


def is_picture_name(name: str) -> bool:
    """Tell pictures from other files by their ending; dot files are never pictures."""
    return not name.startswith(".") and Path(name).suffix.lower() in PICTURE_ENDINGS


def read_file(path: Path) -> bytes:
    """Read a regular file.

    Raises:
        OSError: It is none, or too large, or cannot be read.
    """
    # A named pipe would block for ever, a device could do anything.
    if not path.is_file():
        raise OSError(_reason_absent(path))
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise OSError(f"{size // 2**20} MiB, more than any picture's {MOST_BYTES // 2**20}")
    return path.read_bytes()


def readable_name(name: str) -> str:
    r"""Write bytes of a file's name that are no UTF-8 as `\xff`, for lists and messages.

    A picture of such a name cannot be read by what this returns, which is meant: a name that
    cannot be written down is in no list, table or gallery.
    """
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _reason_absent(path: Path) -> str:
    if path.exists():
        return "not a regular file"
    if path.is_symlink():
        return "a link to a file that is not there"
    if _UNWRITABLE.search(str(path)):
        return "its name is not UTF-8; rename it"
    return "no such file"


def digest_of_content(content: Content) -> str:
    """Tell pictures from each other by their bytes."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    shape = f"pixels {content.shape}\n".encode()
    return hashlib.sha256(shape + content.tobytes()).hexdigest()


def _decode(content: Content) -> NDArray[np.uint8]:
    if not isinstance(content, bytes):
        return content
    pixels = decode_plain_jpeg(content)
    return _decode_by_pillow(content) if pixels is None else pixels


def _decode_by_pillow(data: bytes) -> NDArray[np.uint8]:
    if data.startswith(PNG_SIGNATURE):
        require_whole_png(data)
    pixels = _decode_anything(data)
    if data.startswith(JPEG_SIGNATURE):
        require_whole_jpeg(data, pixels, decode=_decode_anything)
    return pixels


def _decode_anything(data: bytes) -> NDArray[np.uint8]:
    with Image.open(BytesIO(data), formats=PICTURE_FORMATS) as image:
        _refuse_bomb(image)
        # Differs from CLIP-ReID, which ignores EXIF: telephones store portraits lying down.
        # Market-1501 carries no EXIF, so its pixels are the same.
        upright: Image.Image = ImageOps.exif_transpose(image)
        return np.asarray(_in_eight_bits(upright).convert("RGB"), dtype=np.uint8)


def _refuse_bomb(image: Image.Image) -> None:
    """Refuse what Pillow only warns of, whatever becomes of its warning in other threads."""
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and image.width * image.height > limit:
        raise Image.DecompressionBombError(
            f"{image.width} x {image.height} pixels, more than {limit}: could be a decompression "
            "bomb"
        )


def _in_eight_bits(image: Image.Image) -> Image.Image:
    """Keep the upper half of 16 bits of grey; Pillow's conversion would make nearly all white."""
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))


def describe_decoder_error(error: BaseException) -> str:
    """Say in a few words what a decoder complained of."""
    if isinstance(error, UnidentifiedImageError):
        return "not a picture that Pillow knows"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).rstrip(".") or type(error).__name__


def _in_threads(work: Callable[[slice], _Result], count: int) -> list[_Result]:
    """Share rows 0..count-1 out among threads, in as many runs of neighbours."""
    if not count:
        return []
    share = math.ceil(count / NUM_THREADS)
    runs = [slice(start, min(start + share, count)) for start in range(0, count, share)]
    with _strict_about_size():
        if len(runs) == 1:  # to start a thread takes longer than to read a picture
            return [work(*runs)]
        with ThreadPoolExecutor(max_workers=len(runs)) as pool:
            return list(pool.map(work, runs))


@contextmanager
def _strict_about_size() -> Iterator[None]:
    """Make Pillow's warning of a decompression bomb an error, and hush its other warnings.

    The filters are the whole process's, so they are set once around the threads.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield
