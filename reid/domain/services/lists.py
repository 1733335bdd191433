"""Lists of images: read when they are first needed, kept, and fit to be embedded or not."""

import unicodedata
from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor

from reid.domain.errors import DatasetError
from reid.domain.values.counts import counted
from reid.domain.values.samples import ListedImage, Sample, SampleList, Split, UnreadableImage
from reid.ports.dataset import Dataset, ImageReader, ImageSource

_UNWRITTEN = ("Cc", "Cs")  # Unicode categories of control characters and of halves of characters


class ListedDataset:
    """A dataset made of lists and a reader; all that a plug-in has to return."""

    def __init__(
        self, name: str, *, reader: ImageReader, list_split: Callable[[Split], SampleList]
    ) -> None:
        """Keep the parts; no list is read yet, and the name is for reports.

        `list_split` is called once for each split that is needed. It raises DatasetError where the
        list cannot be read.
        """
        self.name = name
        self.reader = reader
        self._listed = cache(list_split)

    def samples(self, split: Split) -> tuple[Sample, ...]:
        """List a split.

        Raises:
            DatasetError: The list cannot be read, or is empty.
        """
        listed = self._listed(split)
        if not listed.samples:
            raise DatasetError(listed.why_empty(split))
        return listed.samples

    def unparsed_names(self, split: Split) -> tuple[str, ...]:
        """List the images whose names give no person or camera.

        Raises:
            DatasetError: The list cannot be read.
        """
        return self._listed(split).unparsed


def with_reader(dataset: Dataset, reader: ImageReader) -> Dataset:
    """Read a dataset's images by another reader."""
    return ListedDataset(
        dataset.name,
        reader=reader,
        list_split=lambda split: SampleList(
            dataset.samples(split), dataset.unparsed_names(split), place=dataset.name
        ),
    )


class ListedImages:
    """An image source of one list and a reader."""

    def __init__(
        self, place: str, *, reader: ImageReader, list_images: Callable[[], Sequence[ListedImage]]
    ) -> None:
        """Keep the parts; `list_images` is called once, when the list is first needed.

        `place` is the folder that the names start from, or the sender of the images.
        """
        self.place = place
        self.reader = reader
        self._listed = cache(lambda: tuple(list_images()))

    def images(self) -> tuple[ListedImage, ...]:
        """List the images.

        Raises:
            DatasetError: The list cannot be read, or there is no image.
        """
        return self._listed()


def select_images(source: ImageSource, images: Sequence[ListedImage]) -> ListedImages:
    """List only some of a source's images."""
    return ListedImages(source.place, reader=source.reader, list_images=lambda: images)


def split_off_unreadable(
    source: ImageSource, *, role: str
) -> tuple[ListedImages, tuple[UnreadableImage, ...]]:
    """Decode every image once; return the readable images and the others.

    Raises:
        DatasetError: No image can be read; the message calls them by `role`.
    """
    listed = source.images()
    unreadable = source.reader.find_unreadable([image.name for image in listed])
    bad = {image.name for image in unreadable}
    readable = select_images(source, [one for one in listed if one.name not in bad])
    require_readable(readable.images(), unreadable, role=role)
    return readable, unreadable


class ReaderAround:
    """All that a reader does but `read`, done by another one; subclasses add that."""

    def __init__(self, reader: ImageReader) -> None:
        """Keep the other reader, and take its methods."""
        self._reader = reader
        self.find_unreadable = reader.find_unreadable
        self.thumbnails = reader.thumbnails
        self.content_digests = reader.content_digests


def require_readable(
    readable: Sequence[ListedImage], unreadable: Sequence[UnreadableImage], *, role: str
) -> None:
    """Raise a DatasetError if images were given and none can be read; `role` is what it calls them.

    A frame in which a detector found nobody gives no image, which is no error.
    """
    if readable or not unreadable:
        return
    raise DatasetError(
        f"not one of {counted(len(unreadable), f'{role} image')} can be read; "
        f"the first is {unreadable[0].name}: {unreadable[0].reason}"
    )


def require_labels(gallery: Sequence[ListedImage]) -> None:
    """Raise a DatasetError that explains how to label images, if one has no label."""
    nameless = [image.name for image in gallery if image.label is None]
    if nameless:
        raise DatasetError(
            f"no label on {len(nameless)} of "
            f"{counted(len(gallery), 'gallery image')}, the first is {nameless[0]}; name "
            "them as in Market-1501 (0002_c1s1_000451_03.jpg), put "
            "them in one sub-folder per person, or give a CSV with the columns path,label"
        )


def require_writable_names(gallery: Sequence[ListedImage]) -> None:
    """Refuse names by which people could not be searched, listed or forgotten.

    No command line can pass a NUL, databases end a text at it or refuse it, and a terminal executes
    an escape sequence instead of showing it.

    Raises:
        DatasetError: A label or camera holds a control character, or half of a surrogate pair.
    """
    for image in gallery:
        for what, name in (("label", image.label), ("camera", image.camera)):
            if name is None or name.isprintable():
                continue
            if any(unicodedata.category(letter) in _UNWRITTEN for letter in name):
                raise DatasetError(
                    f"the {what} {name!r} of {image.name} holds a control character, by which "
                    "nobody could be listed or forgotten: take another name"
                )


def camids_of(images: Sequence[ListedImage], *, num_cameras: int) -> Tensor | None:
    """Number the cameras of N images from zero: (N,) int64.

    An encoder of `num_cameras` knows "1", "2", ... None where any image's camera is another:
    vectors with and without a camera's embedding do not compare.
    """
    if first_without_camera(images, num_cameras=num_cameras) is not None:
        return None
    return torch.tensor([int(image.camera or 0) - 1 for image in images])


def first_without_camera(images: Sequence[ListedImage], *, num_cameras: int) -> ListedImage | None:
    """Find the first image whose camera the encoder does not know, if any."""
    known = {str(camera) for camera in range(1, num_cameras + 1)}
    return next((image for image in images if image.camera not in known), None)
