"""Lists of pictures, and who reads the pictures listed."""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from reid.domain.values.samples import (
    ImageSize,
    Picture,
    Resampling,
    Sample,
    Split,
    UnreadableImage,
)


class ImageReader(Protocol):
    """Reads pictures by the names under which they were listed."""

    def read(self, images: Sequence[str], *, size: ImageSize, resampling: Resampling) -> Tensor:
        """Decode and resize.

        Args:
            images: B names.
            size: What every picture is resized to, its aspect ratio given up.
            resampling: Filter of the resize, antialiased.

        Returns:
            (B, 3, H, W) uint8 RGB, in the order of the names; on the CPU, or where a dataset that
            is kept on a device keeps it; strides as they come.

        Raises:
            DatasetError: A picture cannot be read; names the picture and the reason.
        """
        ...

    def find_unreadable(self, images: Sequence[str]) -> tuple[UnreadableImage, ...]:
        """Decode every picture in full and list those that fail, in the order of the names."""
        ...

    def thumbnails(self, images: Sequence[str], *, height: int) -> tuple[bytes | None, ...]:
        """Make small JPEGs for people to look at.

        Args:
            images: B names.
            height: At most so many pixels high, upright, the aspect ratio kept; never enlarged.

        Returns:
            A JPEG without metadata for each name, in their order; None where the picture cannot be
            read.
        """
        ...

    def content_digests(self, images: Sequence[str]) -> tuple[str, ...]:
        """Identify pictures by the bytes of their files, whatever their names.

        Returns:
            A digest per picture, in the order of the names; empty for one whose file cannot be
            read, of which `find_unreadable` tells the reason.
        """
        ...


class Dataset(Protocol):
    """A re-identification dataset: three lists, and the reader of what they list."""

    @property
    def name(self) -> str:
        """What to call it in reports."""
        ...

    @property
    def reader(self) -> ImageReader:
        """Reads the pictures listed; may be used before any list is."""
        ...

    def samples(self, split: Split) -> tuple[Sample, ...]:
        """List a split.

        Sorted by name, the same at every call; junk left out, distractors kept, cameras zero-based.

        Raises:
            DatasetError: The folder is missing or holds no picture of this split.
        """
        ...

    def unparsed_names(self, split: Split) -> tuple[str, ...]:
        """List the pictures of a split left out because their names tell no person or camera.

        Raises:
            DatasetError: The folder is missing.
        """
        ...


class PictureSource(Protocol):
    """A list of pictures for `identify` and for galleries, and the reader of what it lists."""

    @property
    def place(self) -> str:
        """The folder that the names start from, or the sender of the pictures."""
        ...

    @property
    def reader(self) -> ImageReader:
        """Reads the pictures listed."""
        ...

    def pictures(self) -> tuple[Picture, ...]:
        """List the pictures, sorted by name, with labels and cameras where they are known.

        Raises:
            DatasetError: The folder is missing or holds no picture.
        """
        ...
