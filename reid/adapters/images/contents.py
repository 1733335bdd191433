"""The reader of images by name, whatever their origin, and one that keeps them in memory.

Letters: B batch, H W pixels.
"""

import math
import os
from collections.abc import Callable, Mapping, Sequence
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
from reid.domain.events import ImageCacheFilled
from reid.domain.services.lists import ReaderAround
from reid.domain.values.samples import ImageSize, Resampling, UnreadableImage
from reid.ports.dataset import ImageReader
from reid.ports.events import EventListener

NUM_THREADS = min(os.cpu_count() or 1, 8)  # decoding and resizing release the interpreter's lock
_Result = TypeVar("_Result")


class ImageContents:
    """Reads images as the `ImageReader` port asks."""

    def __init__(
        self,
        content_of: Callable[[str], Content],
        *,
        called: Callable[[str], str] = str,
        num_kept_bytes: int = 0,
    ) -> None:
        """Keep what returns an image's content, or raises OSError where there is none.

        `called` returns what errors call an image; `num_kept_bytes` is memory for what
        `find_unreadable` decodes, until it is read.
        """
        self._content_of = content_of
        self._called = called
        self._room = num_kept_bytes
        self._kept: dict[str, NDArray[np.uint8]] = {}
        self._keeping = Lock()

    def read(self, names: Sequence[str], *, size: ImageSize, resampling: Resampling) -> Tensor:
        """Decode and resize: (B, 3, H, W), channels last in memory."""

        def read_run(run: Sequence[str]) -> NDArray[np.uint8]:
            return resize(list(map(self._require, run)), size=size, resampling=resampling)

        runs = _in_threads(read_run, names)
        none = np.empty((0, size.height, size.width, 3), dtype=np.uint8)
        pixels = runs[0] if len(runs) == 1 else np.concatenate([none, *runs])  # (B, H, W, 3)
        return torch.from_numpy(pixels).permute(0, 3, 1, 2)  # (B, 3, H, W)

    def find_unreadable(self, names: Sequence[str]) -> tuple[UnreadableImage, ...]:
        """Decode every image in full and list those that fail."""

        def check(name: str) -> UnreadableImage | None:
            try:
                decoded = decode(self._content_of(name))
            except DECODER_ERRORS as error:
                return UnreadableImage(name, describe_decoder_error(error))
            with self._keeping:
                if decoded.nbytes <= self._room and name not in self._kept:
                    self._room -= decoded.nbytes
                    self._kept[name] = decoded
            return None

        return tuple(filter(None, _of_each(check, names)))

    def thumbnails(self, names: Sequence[str], *, height: int) -> tuple[bytes | None, ...]:
        """Make small JPEGs; None for images that cannot be read."""
        return _of_each(lambda name: self._thumbnail(name, height=height), names)

    def content_digests(self, names: Sequence[str]) -> tuple[str, ...]:
        """Digest the bytes of every file; empty for one that cannot be read."""
        return _of_each(self._digest, names)

    def _require(self, name: str) -> NDArray[np.uint8]:
        with self._keeping:
            kept = self._kept.pop(name, None)
            self._room += 0 if kept is None else kept.nbytes
        if kept is not None:
            return kept
        try:
            return decode(self._content_of(name))
        except DECODER_ERRORS as error:
            raise DatasetError(
                f"{self._called(name)} cannot be read: {describe_decoder_error(error)}; replace "
                "the image or remove it"
            ) from error

    def _thumbnail(self, name: str, *, height: int) -> bytes | None:
        try:
            return encode_thumbnail(decode(self._content_of(name)), height=height)
        except DECODER_ERRORS:
            return None

    def _digest(self, name: str) -> str:
        try:
            return digest_of_content(self._content_of(name))
        except OSError:
            return ""


class ImageFiles(ImageContents):
    """Reads image files under one folder, named by their path from there, `/` between parts."""

    def __init__(self, root: Path | Callable[[], Path], *, num_kept_bytes: int = 0) -> None:
        """Keep the folder, or a function that finds it; nothing is read yet."""

        def path_of(name: str) -> Path:
            return (root if isinstance(root, Path) else root()) / name

        super().__init__(
            lambda name: read_file(path_of(name)),
            called=lambda name: str(path_of(name)),
            num_kept_bytes=num_kept_bytes,
        )


def _of_each(work: Callable[[str], _Result], names: Sequence[str]) -> tuple[_Result, ...]:
    return tuple(chain.from_iterable(_in_threads(lambda run: list(map(work, run)), names)))


def _in_threads(work: Callable[[Sequence[str]], _Result], names: Sequence[str]) -> list[_Result]:
    if not names:
        return []
    share = math.ceil(len(names) / NUM_THREADS)
    runs = [names[start : start + share] for start in range(0, len(names), share)]
    with strict_about_size():
        if len(runs) == 1:  # starting a thread takes longer than reading an image
            return [work(*runs)]
        with ThreadPoolExecutor(max_workers=len(runs)) as pool:
            return list(pool.map(work, runs))


class CachedReader(ReaderAround):
    """A reader that decodes an image once while memory lasts.

    It keeps uint8 pixels of the requested size (at 256 x 128, 10,922 images per GiB), so only speed
    depends on it. Images beyond the budget are decoded every time. None replaces another, since an
    epoch reads each about once.
    """

    def __init__(self, reader: ImageReader, *, num_bytes: int, listener: EventListener) -> None:
        """Begin empty; `listener` is notified once when `num_bytes` of memory are used up."""
        super().__init__(reader)
        self._num_bytes = num_bytes
        self._room = num_bytes
        self._is_filled = False
        self._listener = listener
        self._kept: dict[tuple[ImageSize, Resampling], dict[str, Tensor]] = {}

    def read(self, names: Sequence[str], *, size: ImageSize, resampling: Resampling) -> Tensor:
        """Read what is not kept yet."""
        kept = self._kept.setdefault((size, resampling), {})
        missing = [name for name in dict.fromkeys(names) if name not in kept]
        fresh: Mapping[str, Tensor] = {}
        if missing or not names:
            pixels = self._reader.read(missing, size=size, resampling=resampling)
            fresh = dict(zip(missing, pixels, strict=True))
            self._keep(kept, fresh)
        batch = torch.empty(
            (len(names), 3, size.height, size.width),
            dtype=torch.uint8,
            memory_format=torch.channels_last,
        )
        for row, name in zip(batch, names, strict=True):
            row.copy_(kept[name] if name in kept else fresh[name])
        return batch

    def _keep(self, kept: dict[str, Tensor], fresh: Mapping[str, Tensor]) -> None:
        for name, pixels in fresh.items():
            if self._is_filled:
                return
            if pixels.nbytes > self._room:
                self._is_filled = True
                num_kept = sum(len(images) for images in self._kept.values())
                self._listener(ImageCacheFilled(num_kept=num_kept, num_bytes=self._num_bytes))
                return
            # A copy: a view would keep the whole batch in memory.
            kept[name] = pixels.clone()
            self._room -= pixels.nbytes
