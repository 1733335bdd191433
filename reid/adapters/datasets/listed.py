"""Datasets of picture files under one folder, whatever tells person, camera and split there.

A layout finds the folder and lists a split; everything else is the same for all of them.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from torch import Tensor

from reid.adapters.datasets.pixels import PictureFiles, is_picture_name, readable_name
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


@dataclass(frozen=True, slots=True)
class Passage:
    """Person and camera of a picture."""

    pid: int
    camid: int
    """Zero-based."""


@dataclass(frozen=True, slots=True)
class Listing:
    """A split as a layout found it."""

    samples: tuple[Sample, ...]
    unparsed: tuple[str, ...]
    """Pictures that tell no person or camera."""

    place: Path
    """The folder or file that lists the split, for messages."""


class Layout(Protocol):
    """How a dataset lies on disk."""

    def describe(self, split: Split) -> str:
        """Say which pictures a split consists of, for messages: `named like 0002_c1s1.jpg`."""
        ...

    def find_root(self, given: Path) -> Path:
        """Find the folder that pictures' names start from.

        Raises:
            DatasetError: There is no dataset of this layout.
        """
        ...

    def list_split(self, root: Path, split: Split) -> Listing:
        """List a split.

        Raises:
            DatasetError: A folder or file is missing or cannot be read.
        """
        ...


class ListedDataset:
    """The three lists of a layout, each read once and kept."""

    def __init__(self, root: Path, *, layout: Layout, variant: str = "") -> None:
        """Remember where to look; nothing is read yet.

        Args:
            root: What the user gave.
            layout: Finds and lists.
            variant: Which of several datasets in one folder this is, for reports.
        """
        self._given = root
        self._layout = layout
        self._variant = variant
        self._listings: dict[Split, Listing] = {}

    @property
    def name(self) -> str:
        """The folder's own name, so that a look-alike is not reported as the original."""
        own = self._given.resolve().name
        return f"{own} ({self._variant})" if self._variant else own

    def samples(self, split: Split) -> tuple[Sample, ...]:
        """List a split, sorted by name; read once and kept.

        Raises:
            DatasetError: The folder is missing or holds no picture of this split.
        """
        listing = self._list(split)
        if not listing.samples:
            num_odd = len(listing.unparsed)
            odd = f" ({counted(num_odd, 'picture')} named otherwise)" if num_odd else ""
            raise DatasetError(
                f"{listing.place} holds no picture {self._layout.describe(split)}{odd}; put the "
                f"{split} pictures there"
            )
        return listing.samples

    def unparsed_names(self, split: Split) -> tuple[str, ...]:
        """List the pictures that do not tell person and camera, sorted.

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

    def thumbnails(self, images: Sequence[str], *, height: int) -> tuple[bytes | None, ...]:
        """Make small JPEGs of pictures; None for those that cannot be read."""
        return self._files.thumbnails(images, height=height)

    def content_digests(self, images: Sequence[str]) -> tuple[str, ...]:
        """Digest the bytes of every picture's file."""
        return self._files.content_digests(images)

    @cached_property
    def _root(self) -> Path:
        return self._layout.find_root(self._given)

    @cached_property
    def _files(self) -> PictureFiles:
        return PictureFiles(self._root)

    def _list(self, split: Split) -> Listing:
        if split not in self._listings:
            self._listings[split] = self._layout.list_split(self._root, split)
        return self._listings[split]


def sort_out(pictures: Iterable[tuple[str, Passage | None]], *, place: Path) -> Listing:
    """Make a split's list: sorted by name, each name once, junk left out, the unknown apart."""
    samples: list[Sample] = []
    unparsed: list[str] = []
    for image, passage in sorted(dict(pictures).items()):
        if passage is None:
            unparsed.append(image)
        elif passage.pid != JUNK_PID:
            samples.append(Sample(image=image, pid=passage.pid, camid=passage.camid))
    return Listing(samples=tuple(samples), unparsed=tuple(unparsed), place=place)


def find_folder(
    given: Path, names: Sequence[str], *, holds: Callable[[Path], bool], title: str, needs: str
) -> Path:
    """Find a dataset's folder: the given one, or one under a usual name in it.

    Args:
        given: A folder.
        names: Sub-folders that the dataset is usually unpacked to, in the order of the search.
        holds: Whether a folder is the dataset's.
        title: What to call the dataset in messages.
        needs: What its folder holds, for messages.

    Raises:
        DatasetError: None of them is; says what was looked for where.
    """
    if not given.is_dir():
        problem = "is not a folder" if given.exists() else "does not exist"
        raise DatasetError(
            f"the dataset folder {given} {problem}; give the folder that holds {needs}"
        )
    for candidate in (given, *(given / name for name in names)):
        if holds(candidate):
            return candidate
    raise DatasetError(
        f"no {title} in {given}: looked for {needs} there and in its sub-folders {', '.join(names)}"
    )


def picture_names(folder: Path, *, hint: str) -> list[str]:
    """List the pictures that lie directly in a folder, in no order.

    Args:
        folder: A folder.
        hint: What the dataset needs, for the message if it cannot be listed.

    Raises:
        DatasetError: It cannot be listed.
    """
    try:
        with os.scandir(folder) as entries:
            return [readable_name(entry.name) for entry in entries if is_picture_name(entry.name)]
    except OSError as error:
        raise DatasetError(f"{folder} cannot be listed: {error.strerror}; {hint}") from error
