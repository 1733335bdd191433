"""Images that a program passes in: paths, contents of files, or pixels.

Letters: H W pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from reid.adapters.images.contents import ImageContents
from reid.adapters.images.decoding import (
    DECODER_ERRORS,
    IMAGE_FORMATS,
    Content,
    decode,
    describe_decoder_error,
    digest_of_content,
    strict_about_size,
)
from reid.adapters.images.files import read_file
from reid.adapters.images.resizing import encode_thumbnail, resize
from reid.domain.errors import DatasetError
from reid.domain.services.enrolment import THUMBNAIL_HEIGHT
from reid.domain.services.lists import ListedImages
from reid.domain.values.samples import ImageSize, ListedImage, Resampling

ImageLike: TypeAlias = str | Path | bytes | NDArray[np.uint8]
"""A path, the content of an image file, or (H, W, 3) uint8 RGB pixels."""


@dataclass(frozen=True, slots=True, eq=False)
class GivenImage:
    """An image and what is known of it."""

    image: ListedImage
    content: Path | Content
    digest: str | None = None  # digest of the original content; None: to be computed
    thumbnail: bytes | None = None  # a small JPEG; None: to be made


class GivenImages(ListedImages):
    """An image source over images that a program passed in, each with its own name."""

    def __init__(self, given: Sequence[GivenImage], *, place: str) -> None:
        """Keep the images in order; `place` is their sender."""
        if not given:
            raise DatasetError("no image was given: give one at least")
        listed = [one.image for one in given]
        super().__init__(place, reader=_GivenReader(given), list_images=lambda: listed)


class _GivenReader(ImageContents):
    """Reads the images, and returns the digests and thumbnails that came with them."""

    def __init__(self, given: Sequence[GivenImage]) -> None:
        self._given = {one.image.name: one for one in given}
        super().__init__(self._given_content)

    def _given_content(self, name: str) -> Content:
        content = self._given[name].content
        return read_file(content) if isinstance(content, Path) else content

    def _thumbnail(self, name: str, *, height: int) -> bytes | None:
        return self._given[name].thumbnail or super()._thumbnail(name, height=height)

    def _digest(self, name: str) -> str:
        return self._given[name].digest or super()._digest(name)


def give_images(images: Sequence[ImageLike], *, place: str) -> GivenImages:
    """Make a source of images that a program passes in; `place` is their sender, or their folder.

    Paths are their own names; contents and pixels are named by their digest, so that the same image
    gets the same name again.

    Raises:
        DatasetError: Pixels are not (H, W, 3) uint8, an image is given twice, or none is.
    """
    given = [_given(one) for one in images]
    if len({one.image.name for one in given}) < len(given):
        raise DatasetError("an image is given twice at once: give it once")
    return GivenImages(given, place=place)


def _given(one: ImageLike) -> GivenImage:
    if isinstance(one, str | Path):
        return GivenImage(ListedImage(str(one)), Path(one))
    if isinstance(one, np.ndarray) and (
        one.dtype != np.uint8 or one.shape[2:] != (3,) or one.size == 0
    ):
        raise DatasetError(
            f"pixels must be (H, W, 3) uint8 in RGB order, got {one.shape} {one.dtype}: convert "
            "them, or give the file's content"
        )
    digest = digest_of_content(one)
    return GivenImage(ListedImage(digest), one, digest)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageIntake:
    """Checks, decodes and resizes images from clients at once.

    An image waits for its turn in a few kilobytes, however large its file.
    """

    size: ImageSize  # of the encoder's images
    max_pixels: int  # checked before an image is decoded
    keeps_thumbnails: bool = False
    resampling: Resampling = Resampling.BILINEAR  # likewise

    def take(self, content: bytes, image: ListedImage) -> GivenImage:
        """Take the content of one file, of any kind and size.

        Raises:
            DatasetError: It is no image, damaged, truncated, or has too many pixels.
        """
        thumbnail = None
        try:
            with Image.open(BytesIO(content), formats=IMAGE_FORMATS) as header:
                width, height = header.size
            if width * height > self.max_pixels:
                raise DatasetError(
                    f"{image.name} has {width} x {height} pixels, more than the "
                    f"{self.max_pixels:,} allowed: send the person cut out, or a smaller image"
                )
            with strict_about_size():
                decoded = decode(content)
            if self.keeps_thumbnails:
                thumbnail = encode_thumbnail(decoded, height=THUMBNAIL_HEIGHT)
        except DECODER_ERRORS as error:
            raise DatasetError(
                f"{image.name} cannot be read: {describe_decoder_error(error)}; send an image "
                f"({', '.join(IMAGE_FORMATS)})"
            ) from error
        (pixels,) = resize([decoded], size=self.size, resampling=self.resampling)
        return GivenImage(
            image, np.ascontiguousarray(pixels), digest_of_content(content), thumbnail
        )
