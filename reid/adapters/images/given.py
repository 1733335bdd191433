"""Images that a program passes in: paths, contents of files, or pixels.

Letters: H W pixels.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from reid.adapters.images.boxes import boxes_by_image, boxes_in
from reid.adapters.images.contents import ImageContents
from reid.adapters.images.conversion import convert, is_single, require_channels
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

A_PROGRAM = "a program"  # source of images that are given as bytes, pixels or crops


@dataclass(frozen=True, slots=True, eq=False)
class GivenImage:
    """An image and what is known of it."""

    image: ListedImage
    content: Path | Content
    digest: str | None = None  # digest of the original content; None: to be computed
    thumbnail: bytes | None = None  # a small JPEG; None: to be made


class GivenImages(ListedImages):
    """An image source over images that a program passed in, each with its own name."""

    def __init__(
        self, given: Sequence[GivenImage], *, place: str, may_be_none: bool = False
    ) -> None:
        """Keep the images in order; `place` is their sender.

        Raises:
            DatasetError: There is no image, unless there `may_be_none`.
        """
        if not given and not may_be_none:
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


def give_images(
    images: object,
    *,
    channels: str = "rgb",
    boxes: object = None,
    padding: float = 0.0,
    once: bool = False,
) -> GivenImages:
    """Make a source of the images that a program passes in.

    Paths are their own names; contents and pixels are named by their digest, so that the same image
    gets the same name again. The second of equal images has ` (2)` behind its name, and so on.

    Args:
        images: An image (see `ImageLike`), (N, H, W, 3) pixels, or several images.
        channels: Order of an array's colours, `rgb` or `bgr`.
        boxes: People to cut out, in place of whole images: those of the one image (see `boxes_in`),
            or a list with those of each image. There may be none.
        padding: Widens boxes; see `boxes_in`.
        once: List equal images once.

    Raises:
        DatasetError: An image, box or argument is not as it should be, or no image is given.
    """
    require_channels(channels)
    if not 0 <= padding < float("inf"):
        raise DatasetError(f"padding={padding!r} must be 0 or more: a share of a box's size")
    alone = is_single(images)
    # A list, since an iterator such as that of `Path.glob` can be read only once.
    listed = [images] if alone else [*images]  # type: ignore[misc]  # it is iterable
    names = ["the image"] if alone else [f"image {number}" for number in range(len(listed))]
    contents = [
        convert(one, channels=channels, what=what) for one, what in zip(listed, names, strict=True)
    ]
    are_paths = boxes is None and all(isinstance(content, Path) for content in contents)
    if boxes is None:
        given = list(map(_given, contents))
    else:
        by_image = boxes_by_image(boxes, num_images=len(listed), is_single=alone)
        rows = zip(contents, by_image, names, strict=True)
        given = [crop for row in rows for crop in _cut_out(*row, padding=padding)]
    return GivenImages(
        list({one.image.name: one for one in given}.values()) if once else _told_apart(given),
        place=str(Path.cwd()) if are_paths else A_PROGRAM,
        may_be_none=boxes is not None and bool(listed),
    )


def _given(content: Path | Content) -> GivenImage:
    if isinstance(content, Path):
        return GivenImage(ListedImage(str(content)), content)
    digest = digest_of_content(content)
    return GivenImage(ListedImage(digest), content, digest)


def _cut_out(
    content: Path | Content, boxes: object, what: str, *, padding: float
) -> Iterator[GivenImage]:
    """Decode a frame and give what its boxes hold; crops of a file are named by it and the box."""
    path = content if isinstance(content, Path) else None
    what = str(path or what)
    if path is not None and (path.is_dir() or path.suffix.lower() == ".csv"):
        raise DatasetError(f"{path} is no image: boxes are of images, given as a list")
    try:
        with strict_about_size():
            frame = decode(read_file(content) if isinstance(content, Path) else content)
    except DECODER_ERRORS as error:
        raise DatasetError(f"{what} cannot be read: {describe_decoder_error(error)}") from error
    for box in boxes_in(frame, boxes, padding=padding, what=what):
        crop = _given(box.cut(frame))
        yield crop if path is None else replace(crop, image=ListedImage(f"{path}#{box}"))


def _told_apart(given: Sequence[GivenImage]) -> list[GivenImage]:
    """Number images of one name from the second on."""
    apart: dict[str, GivenImage] = {}
    counts: Counter[str] = Counter()
    for one in given:
        name = one.image.name
        while name in apart:
            counts[one.image.name] += 1
            name = f"{one.image.name} ({counts[one.image.name] + 1})"
        apart[name] = replace(one, image=replace(one.image, name=name))
    return list(apart.values())


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
