"""Decoded images kept in memory, for training, which reads them again and again."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from reid.domain.events import ImageCacheFilled
from reid.domain.services.lists import ReaderAround
from reid.domain.values.samples import ImageSize, Resampling
from reid.ports.dataset import ImageReader
from reid.ports.events import EventListener


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
