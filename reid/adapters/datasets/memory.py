"""Decoded pictures kept in memory, for those who read them again and again."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from reid.domain.events import PictureCacheFilled
from reid.domain.values.samples import ImageSize, Resampling, Sample, Split, UnreadableImage
from reid.ports.dataset import Dataset
from reid.ports.events import EventListener

_Kind: TypeAlias = tuple[ImageSize, Resampling]


class CachedDataset:
    """A dataset that decodes a picture once while memory lasts.

    What is kept is what was read, uint8 of the size that was asked for (at 256 x 128, 10,922
    pictures per GiB), so nothing but time depends on it. Pictures beyond the budget are decoded
    every time; none is ever dropped for another, since an epoch asks for each about once.
    """

    def __init__(self, dataset: Dataset, *, num_bytes: int, listener: EventListener) -> None:
        """Begin empty.

        Args:
            dataset: Reads and lists.
            num_bytes: Memory for pixels.
            listener: Hears once that the memory is used up.
        """
        self._dataset = dataset
        self._num_bytes = num_bytes
        self._room = num_bytes
        self._is_filled = False
        self._listener = listener
        self._kept: dict[_Kind, dict[str, Tensor]] = {}

    @property
    def name(self) -> str:
        """The dataset's own name."""
        return self._dataset.name

    def samples(self, split: Split) -> tuple[Sample, ...]:
        """List a split as the dataset does."""
        return self._dataset.samples(split)

    def unparsed_names(self, split: Split) -> tuple[str, ...]:
        """List as the dataset does."""
        return self._dataset.unparsed_names(split)

    def find_unreadable(self, images: Sequence[str]) -> tuple[UnreadableImage, ...]:
        """Decode as the dataset does."""
        return self._dataset.find_unreadable(images)

    def thumbnails(self, images: Sequence[str], *, height: int) -> tuple[bytes | None, ...]:
        """Make them as the dataset does."""
        return self._dataset.thumbnails(images, height=height)

    def read(self, images: Sequence[str], *, size: ImageSize, resampling: Resampling) -> Tensor:
        """Read what is not kept yet; see the port.

        Raises:
            DatasetError: A picture cannot be read.
        """
        kept = self._kept.setdefault((size, resampling), {})
        missing = [image for image in dict.fromkeys(images) if image not in kept]
        fresh: Mapping[str, Tensor] = {}
        if missing or not images:
            pixels = self._dataset.read(missing, size=size, resampling=resampling)
            fresh = dict(zip(missing, pixels, strict=True))
            self._keep(kept, fresh)
        batch = torch.empty(
            (len(images), 3, size.height, size.width),
            dtype=torch.uint8,
            memory_format=torch.channels_last,
        )
        for row, image in zip(batch, images, strict=True):
            row.copy_(kept[image] if image in kept else fresh[image])
        return batch

    def _keep(self, kept: dict[str, Tensor], fresh: Mapping[str, Tensor]) -> None:
        for image, pixels in fresh.items():
            if self._is_filled or pixels.nbytes > self._room:
                self._say_filled()
                return
            # A copy: a view would hold the whole batch in memory, pictures without room included.
            kept[image] = pixels.clone()
            self._room -= pixels.nbytes

    def _say_filled(self) -> None:
        if not self._is_filled:
            num_kept = sum(len(pictures) for pictures in self._kept.values())
            self._listener(PictureCacheFilled(num_kept=num_kept, num_bytes=self._num_bytes))
        self._is_filled = True
