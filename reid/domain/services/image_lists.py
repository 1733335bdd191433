"""Conditions on lists of images that are to be embedded.

Letters: N images.
"""

import unicodedata
from collections.abc import Sequence

import torch
from torch import Tensor

from reid.domain.errors import DatasetError
from reid.domain.values.counts import counted
from reid.domain.values.samples import ListedImage, UnreadableImage

_UNWRITTEN = ("Cc", "Cs")
"""Unicode categories of control characters and of halves of characters."""


def require_readable(
    readable: Sequence[ListedImage], unreadable: Sequence[UnreadableImage], *, role: str
) -> None:
    """Raise a DatasetError if no image can be read; `role` is what it calls them."""
    if readable:
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
    """Number cameras from zero.

    Args:
        images: N, whose cameras are called "1", "2", ... where the encoder knows them.
        num_cameras: How many the encoder distinguishes.

    Returns:
        (N,) int64; None where any image's camera is not one of the encoder's: vectors with and
        without a camera's embedding do not compare.
    """
    if first_without_camera(images, num_cameras=num_cameras) is not None:
        return None
    return torch.tensor([int(image.camera or 0) - 1 for image in images])


def first_without_camera(images: Sequence[ListedImage], *, num_cameras: int) -> ListedImage | None:
    """Find the first image whose camera the encoder does not know, if any."""
    known = {str(camera) for camera in range(1, num_cameras + 1)}
    return next((image for image in images if image.camera not in known), None)
