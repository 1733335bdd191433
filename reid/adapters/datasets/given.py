"""Pictures handed over by a program: paths, contents of files, or pixels.

Letters: B batch, H W pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from reid.adapters.datasets.pixels import (
    DECODER_ERRORS,
    PICTURE_FORMATS,
    Content,
    PictureContents,
    describe_decoder_error,
    digest_of_content,
    read_file,
)
from reid.domain.errors import DatasetError
from reid.domain.values.samples import ImageSize, Picture, Resampling, UnreadableImage

PictureLike: TypeAlias = str | Path | bytes | NDArray[np.uint8]
"""A path, the content of a picture file, or (H, W, 3) uint8 RGB pixels."""


@dataclass(frozen=True, slots=True, eq=False)
class GivenPicture:
    """A picture and what is known of it."""

    picture: Picture
    content: Path | Content
    digest: str | None = None
    """Of the content as it came; None: to be computed."""

    thumbnail: bytes | None = None
    """A small JPEG; None: to be made."""


class GivenPictures:
    """A picture source over what a program handed over."""

    def __init__(self, given: Sequence[GivenPicture], *, place: str) -> None:
        """Keep the pictures.

        Args:
            given: Each under a name of its own.
            place: Who gave them.
        """
        self._given = {one.picture.image: one for one in given}
        self._place = place
        self._contents = PictureContents(self._content_of, called=lambda image: image)

    @property
    def place(self) -> str:
        """Who gave them."""
        return self._place

    def pictures(self) -> tuple[Picture, ...]:
        """List the pictures in the order given.

        Raises:
            DatasetError: There is none.
        """
        if not self._given:
            raise DatasetError("no picture was given: give one at least")
        return tuple(one.picture for one in self._given.values())

    def read(self, images: Sequence[str], *, size: ImageSize, resampling: Resampling) -> Tensor:
        """Decode and resize to (B, 3, H, W) uint8.

        Raises:
            DatasetError: A picture cannot be read.
        """
        return self._contents.read(images, size=size, resampling=resampling)

    def find_unreadable(self, images: Sequence[str]) -> tuple[UnreadableImage, ...]:
        """Decode every picture in full and list those that fail."""
        return self._contents.find_unreadable(images)

    def thumbnails(self, images: Sequence[str], *, height: int) -> tuple[bytes | None, ...]:
        """Hand out the thumbnails that came with the pictures, and make the others."""
        ready = [self._given[image].thumbnail for image in images]
        if all(thumbnail is not None for thumbnail in ready):
            return tuple(ready)
        return self._contents.thumbnails(images, height=height)

    def content_digests(self, images: Sequence[str]) -> tuple[str, ...]:
        """Hand out the digests that came with the pictures, and compute the others."""
        missing = [image for image in images if self._given[image].digest is None]
        computed = dict(zip(missing, self._contents.content_digests(missing), strict=True))
        return tuple(self._given[image].digest or computed.get(image, "") for image in images)

    def _content_of(self, image: str) -> Content:
        content = self._given[image].content
        return read_file(content) if isinstance(content, Path) else content


def give_pictures(pictures: Sequence[PictureLike], *, place: str) -> GivenPictures:
    """Make a source of what a program has in its hands.

    Paths are named as they are given; contents and pixels by their digest, so that the same
    picture given again is the same picture.

    Args:
        pictures: Each path and content once.
        place: Who gives them, or the folder that the paths start from.

    Raises:
        DatasetError: Pixels are not (H, W, 3) uint8, or a picture is given twice.
    """
    given = [_given(one) for one in pictures]
    names = {one.picture.image for one in given}
    if len(names) < len(given):
        raise DatasetError("a picture is given twice at once: give it once")
    return GivenPictures(given, place=place)


def _given(one: PictureLike) -> GivenPicture:
    if isinstance(one, str | Path):
        return GivenPicture(Picture(image=str(one)), Path(one))
    if not isinstance(one, bytes) and not _are_pixels(one):
        raise DatasetError(
            f"pixels must be (H, W, 3) uint8 in RGB order, got {one.shape} {one.dtype}: convert "
            "them, or give the file's content"
        )
    digest = digest_of_content(one)
    return GivenPicture(Picture(image=digest), one, digest)


def _are_pixels(one: NDArray[np.uint8]) -> bool:
    return one.dtype == np.uint8 and one.shape[2:] == (3,) and one.size > 0


class PictureIntake:
    """Takes pictures from strangers: checked, decoded at once, and brought to the wanted size.

    A picture waits for its turn in a few kilobytes, however large it came.
    """

    def __init__(
        self, *, size: ImageSize, max_pixels: int, thumbnail_height: int | None = None
    ) -> None:
        """Keep the limits.

        Args:
            size: What the encoder takes.
            max_pixels: Most pixels of a picture; counted before any is decoded.
            thumbnail_height: Make thumbnails of so many pixels; None: make none.
        """
        self._size = size
        self._max_pixels = max_pixels
        self._thumbnail_height = thumbnail_height

    def take(self, content: bytes, picture: Picture) -> GivenPicture:
        """Take one picture.

        Args:
            content: Of a file, of any kind and size.
            picture: Its name, and what is known of it.

        Raises:
            DatasetError: It is no picture, damaged, truncated, or has too many pixels.
        """
        require_modest(content, max_pixels=self._max_pixels, called=picture.image)
        contents = PictureContents(lambda _: content, called=lambda _: picture.image)
        names = [picture.image]
        pixels = contents.read(names, size=self._size, resampling=Resampling.BILINEAR)
        thumbnail = None
        if self._thumbnail_height is not None:
            (thumbnail,) = contents.thumbnails(names, height=self._thumbnail_height)
        return GivenPicture(
            picture,
            np.ascontiguousarray(pixels[0].permute(1, 2, 0).numpy()),  # (H, W, 3)
            digest=digest_of_content(content),
            thumbnail=thumbnail,
        )


def require_modest(content: bytes, *, max_pixels: int, called: str) -> None:
    """Look at a picture's header, and refuse it where decoding it would cost too much.

    Raises:
        DatasetError: It is of no known format, or has too many pixels.
    """
    try:
        with Image.open(BytesIO(content), formats=PICTURE_FORMATS) as image:
            width, height = image.size
    except DECODER_ERRORS as error:
        raise DatasetError(
            f"{called} cannot be read: {describe_decoder_error(error)}; send a picture "
            f"({', '.join(PICTURE_FORMATS)})"
        ) from error
    if width * height > max_pixels:
        raise DatasetError(
            f"{called} has {width} x {height} pixels, more than the {max_pixels:,} allowed: send "
            "the person cut out, or a smaller picture"
        )
