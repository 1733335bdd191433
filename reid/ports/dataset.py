"""Lists of images, and readers of the images listed."""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from reid.domain.values.samples import (
    ImageSize,
    ListedImage,
    Resampling,
    Sample,
    Split,
    UnreadableImage,
)


class ImageReader(Protocol):
    """Reads images by the names under which they were listed."""

    def read(self, names: Sequence[str], *, size: ImageSize, resampling: Resampling) -> Tensor:
        """Decode and resize.

        Args:
            names: B names.
            size: Every image is resized to it, whatever its aspect ratio.
            resampling: Filter of the resize, antialiased.

        Returns:
            (B, 3, H, W) uint8 RGB, in the order of the names; on the CPU, or where a dataset that
            is kept on a device keeps it; strides as they come.

        Raises:
            DatasetError: An image cannot be read; names the image and the reason.
        """

    def find_unreadable(self, names: Sequence[str]) -> tuple[UnreadableImage, ...]:
        """Decode every image in full and list those that fail, in the order of the names."""

    def thumbnails(self, names: Sequence[str], *, height: int) -> tuple[bytes | None, ...]:
        """Make small JPEGs for people to look at.

        Args:
            names: B names.
            height: Largest height in pixels, upright, the aspect ratio kept; never enlarged.

        Returns:
            A JPEG without metadata for each name, in their order; None where the image cannot be
            read.
        """

    def content_digests(self, names: Sequence[str]) -> tuple[str, ...]:
        """Identify images by the bytes of their files, whatever their names.

        Returns:
            A digest per image, in the order of the names; empty for a file that cannot be read, for
            which `find_unreadable` gives the reason.
        """


class Dataset(Protocol):
    """A re-identification dataset: three lists, and the reader of what they list."""

    @property
    def name(self) -> str:
        """Name of the dataset in reports."""

    @property
    def reader(self) -> ImageReader:
        """Reads the images listed; may be used before any list is read."""

    def samples(self, split: Split) -> tuple[Sample, ...]:
        """List a split.

        Sorted by name, the same at every call; junk left out, distractors kept, cameras zero-based.

        Raises:
            DatasetError: The folder is missing or holds no image of this split.
        """

    def unparsed_names(self, split: Split) -> tuple[str, ...]:
        """List the images of a split left out because their names give no person or camera.

        Raises:
            DatasetError: The folder is missing.
        """


class ImageSource(Protocol):
    """A list of images for `identify` and for galleries, and the reader of what it lists."""

    @property
    def place(self) -> str:
        """The folder that the names start from, or the sender of the images."""

    @property
    def reader(self) -> ImageReader:
        """Reads the images listed."""

    def images(self) -> tuple[ListedImage, ...]:
        """List the images, sorted by name, with labels and cameras where they are known.

        Raises:
            DatasetError: The folder is missing or holds no image.
        """
