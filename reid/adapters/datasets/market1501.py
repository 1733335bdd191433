"""Market-1501 (Zheng et al. 2015), and any folder laid out like it."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from torch import Tensor

from reid.adapters.datasets.market_names import parse_market_name
from reid.adapters.datasets.pixels import PictureFiles, is_picture_name
from reid.domain.errors import DatasetError
from reid.domain.values.counts import counted
from reid.domain.values.samples import (
    JUNK_PID,
    ImageSize,
    Resampling,
    Sample,
    Split,
    UnreadableImage,
)

FOLDERS = {
    Split.TRAIN: "bounding_box_train",
    Split.QUERY: "query",
    Split.GALLERY: "bounding_box_test",
}
"""Where each split lies under the data set's folder."""

KNOWN_ROOTS = ("Market-1501-v15.09.15", "Market-1501", "Market1501", "market1501", "Market")
"""Names under which the data set is unpacked, in the order in which they are looked for."""


@dataclass(frozen=True, slots=True)
class _Listing:
    samples: tuple[Sample, ...]
    unparsed: tuple[str, ...]


class Market1501:
    """The three lists of a folder in Market-1501's layout.

    pid 0 marks distractors in the gallery. In the training and query lists the data set has none;
    where another one does, its pictures are kept as those of one person, as CLIP-ReID keeps them,
    and the dataset check reports them.
    """

    def __init__(self, root: Path) -> None:
        """Remember where to look; nothing is read yet.

        Args:
            root: The folder that holds `bounding_box_train`, `query` and `bounding_box_test`, or
                its parent where the folder has one of the usual names.
        """
        self._given = root
        self._listings: dict[Split, _Listing] = {}

    @property
    def name(self) -> str:
        """The folder's own name, so that a look-alike is not reported as Market-1501."""
        return self._given.resolve().name

    def samples(self, split: Split) -> tuple[Sample, ...]:
        """List a split, sorted by name; read once and kept.

        Raises:
            DatasetError: The folder is missing or holds no picture of this split.
        """
        listing = self._list(split)
        if not listing.samples:
            raise DatasetError(
                f"{self._root / FOLDERS[split]} holds no picture named like "
                f"0002_c1s1_000451_03.jpg ({counted(len(listing.unparsed), 'picture')} named "
                f"otherwise); put the {split} pictures there"
            )
        return listing.samples

    def unparsed_names(self, split: Split) -> tuple[str, ...]:
        """List the pictures whose names do not tell person and camera, sorted.

        Raises:
            DatasetError: The folder is missing.
        """
        return self._list(split).unparsed

    def read(self, images: Sequence[str], *, size: ImageSize, resampling: Resampling) -> Tensor:
        """Decode and resize to (B, 3, H, W) uint8.

        Raises:
            DatasetError: A picture cannot be read.
        """
        return self._files.read(images, size=size, resampling=resampling)

    def find_unreadable(self, images: Sequence[str]) -> tuple[UnreadableImage, ...]:
        """Decode every picture in full and list those that fail."""
        return self._files.find_unreadable(images)

    @cached_property
    def _root(self) -> Path:
        return _find_root(self._given)

    @cached_property
    def _files(self) -> PictureFiles:
        return PictureFiles(self._root)

    def _list(self, split: Split) -> _Listing:
        if split not in self._listings:
            self._listings[split] = _list_folder(self._root, FOLDERS[split])
        return self._listings[split]


def holds_market1501(folder: Path) -> bool:
    """Whether at least one of the three folders lies directly in `folder`.

    `query` alone does not count: any folder may be called that.
    """
    return any((folder / FOLDERS[split]).is_dir() for split in (Split.TRAIN, Split.GALLERY))


def _find_root(given: Path) -> Path:
    if not given.is_dir():
        raise DatasetError(
            f"the dataset folder {given} "
            + ("is not a folder" if given.exists() else "does not exist")
            + "; give the folder that holds "
            + ", ".join(FOLDERS.values())
        )
    for candidate in (given, *(given / name for name in KNOWN_ROOTS)):
        if holds_market1501(candidate):
            return candidate
    raise DatasetError(
        f"no Market-1501 in {given}: looked for the folders {', '.join(FOLDERS.values())} there "
        f"and in its sub-folders {', '.join(KNOWN_ROOTS)}"
    )


def _list_folder(root: Path, folder: str) -> _Listing:
    try:
        with os.scandir(root / folder) as entries:
            names = sorted(entry.name for entry in entries if is_picture_name(entry.name))
    except OSError as error:
        raise DatasetError(
            f"{root / folder} cannot be listed: {error.strerror}; Market-1501 needs the folders "
            f"{', '.join(FOLDERS.values())} in {root}"
        ) from error
    samples: list[Sample] = []
    unparsed: list[str] = []
    for name in names:
        parsed, image = parse_market_name(name), f"{folder}/{name}"
        if parsed is None:
            unparsed.append(image)
        elif parsed.pid != JUNK_PID:
            samples.append(Sample(image=image, pid=parsed.pid, camid=parsed.camid))
    return _Listing(samples=tuple(samples), unparsed=tuple(unparsed))
