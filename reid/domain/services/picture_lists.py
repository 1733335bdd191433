"""What is asked of lists of pictures before they become vectors.

Letters: N pictures.
"""

import unicodedata
from collections.abc import Sequence

import torch
from torch import Tensor

from reid.domain.errors import DatasetError
from reid.domain.values.counts import counted
from reid.domain.values.samples import Picture, UnreadableImage

_UNWRITTEN = ("Cc", "Cs")
"""Unicode's categories of what is no writing: control characters, and halves of characters."""


def require_readable(
    readable: Sequence[Picture], unreadable: Sequence[UnreadableImage], *, role: str
) -> None:
    """Make sure that there is something to work on.

    Args:
        readable: Pictures that can be decoded.
        unreadable: The others.
        role: What to call the pictures.

    Raises:
        DatasetError: None can be read.
    """
    if readable:
        return
    raise DatasetError(
        f"not one of {counted(len(unreadable), f'{role} picture')} can be read; "
        f"the first is {unreadable[0].image}: {unreadable[0].reason}"
    )


def require_labels(gallery: Sequence[Picture]) -> None:
    """Make sure that every picture is of somebody.

    Raises:
        DatasetError: One has no label; tells which, and how to label pictures.
    """
    nameless = [picture.image for picture in gallery if picture.label is None]
    if nameless:
        raise DatasetError(
            f"no label on {len(nameless)} of "
            f"{counted(len(gallery), 'gallery picture')}, the first is {nameless[0]}; name "
            "them as in Market-1501 (0002_c1s1_000451_03.jpg), put "
            "them in one sub-folder per person, or give a CSV with the columns path,label"
        )


def require_writable_names(gallery: Sequence[Picture]) -> None:
    """Make sure that whoever is kept can be asked for, listed and forgotten by name.

    No command line can say a NUL, databases end a text at it or refuse it, and a terminal obeys an
    escape instead of showing it.

    Raises:
        DatasetError: A label or camera holds a control character, or half of one beyond 16 bits.
    """
    for picture in gallery:
        for what, name in (("label", picture.label), ("camera", picture.camera)):
            if name is None or name.isprintable():
                continue
            if any(unicodedata.category(letter) in _UNWRITTEN for letter in name):
                raise DatasetError(
                    f"the {what} {name!r} of {picture.image} holds a control character, by which "
                    "nobody could be listed or forgotten: take another name"
                )


def camids_of(pictures: Sequence[Picture], *, num_cameras: int) -> Tensor | None:
    """Number cameras from zero.

    Args:
        pictures: N, whose cameras are called "1", "2", ... where the encoder knows them.
        num_cameras: How many the encoder tells apart.

    Returns:
        (N,) int64; None where any picture's camera is not one of the encoder's: vectors with and
        without a camera's embedding do not compare.
    """
    if first_without_camera(pictures, num_cameras=num_cameras) is not None:
        return None
    return torch.tensor([int(picture.camera or 0) - 1 for picture in pictures])


def first_without_camera(pictures: Sequence[Picture], *, num_cameras: int) -> Picture | None:
    """Find a picture whose camera is not one that the encoder knows; None where there is none."""
    known = {str(camera) for camera in range(1, num_cameras + 1)}
    return next((picture for picture in pictures if picture.camera not in known), None)
