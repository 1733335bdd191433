"""The reader of pictures by name, wherever their contents come from.

Letters: B batch, H W pixels.
"""

import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from threading import Lock
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reid.adapters.images.decoding import (
    DECODER_ERRORS,
    Content,
    decode,
    describe_decoder_error,
    digest_of_content,
    strict_about_size,
)
from reid.adapters.images.files import read_file
from reid.adapters.images.resizing import encode_thumbnail, resize
from reid.domain.errors import DatasetError
from reid.domain.values.samples import ImageSize, Resampling, UnreadableImage

NUM_THREADS = min(os.cpu_count() or 1, 8)
"""Decoders and resizers let go of the interpreter's lock."""

_Result = TypeVar("_Result")


class PictureContents:
    """Reads pictures as the `ImageReader` port asks."""

    def __init__(
        self,
        content_of: Callable[[str], Content],
        *,
        called: Callable[[str], str] = str,
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
        """Decode and resize.

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
        reasons = _of_each(self._reason_unreadable, images)
        return tuple(
            UnreadableImage(image, reason)
            for image, reason in zip(images, reasons, strict=True)
            if reason
        )

    def thumbnails(self, images: Sequence[str], *, height: int) -> tuple[bytes | None, ...]:
        """Make small JPEGs; None for pictures that cannot be read."""
        return _of_each(lambda image: self._thumbnail(image, height=height), images)

    def content_digests(self, images: Sequence[str]) -> tuple[str, ...]:
        """Digest the bytes of every file; empty for one that cannot be read."""
        return _of_each(self._digest, images)

    def _require(self, image: str) -> NDArray[np.uint8]:
        kept = self._take(image)
        if kept is not None:
            return kept
        try:
            return decode(self._content_of(image))
        except DECODER_ERRORS as error:
            raise DatasetError(
                f"{self._called(image)} cannot be read: {describe_decoder_error(error)}; replace "
                "the picture or remove it"
            ) from error

    def _reason_unreadable(self, image: str) -> str | None:
        try:
            decoded = decode(self._content_of(image))
        except DECODER_ERRORS as error:
            return describe_decoder_error(error)
        self._keep(image, decoded)
        return None

    def _thumbnail(self, image: str, *, height: int) -> bytes | None:
        try:
            return encode_thumbnail(decode(self._content_of(image)), height=height)
        except DECODER_ERRORS:
            return None

    def _digest(self, image: str) -> str:
        try:
            return digest_of_content(self._content_of(image))
        except OSError:
            return ""

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
    """Reads picture files under one folder, named by their path from there, `/` between parts."""

    def __init__(self, root: Path | Callable[[], Path], *, num_kept_bytes: int = 0) -> None:
        """Remember the folder; nothing is touched yet.

        Args:
            root: The folder, or what finds it when the first picture is read.
            num_kept_bytes: See `PictureContents`.
        """

        def path_of(image: str) -> Path:
            return (root if isinstance(root, Path) else root()) / image

        super().__init__(
            lambda image: read_file(path_of(image)),
            called=lambda image: str(path_of(image)),
            num_kept_bytes=num_kept_bytes,
        )


def _of_each(work: Callable[[str], _Result], images: Sequence[str]) -> tuple[_Result, ...]:
    runs = _in_threads(lambda rows: [work(image) for image in images[rows]], len(images))
    return tuple(chain.from_iterable(runs))


def _in_threads(work: Callable[[slice], _Result], count: int) -> list[_Result]:
    """Share rows 0..count-1 out among threads, in as many runs of neighbours."""
    if not count:
        return []
    share = math.ceil(count / NUM_THREADS)
    runs = [slice(start, min(start + share, count)) for start in range(0, count, share)]
    with strict_about_size():
        if len(runs) == 1:  # to start a thread takes longer than to read a picture
            return [work(*runs)]
        with ThreadPoolExecutor(max_workers=len(runs)) as pool:
            return list(pool.map(work, runs))
