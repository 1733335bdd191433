"""Images as the library takes them, and the source of images that they become."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal, TypeAlias, TypedDict, Unpack

from reid.adapters.images.conversion import ImageLike, require_channels
from reid.container.root import Container
from reid.ports.dataset import ImageSource

Images: TypeAlias = ImageLike | Iterable[ImageLike]
"""The path of a folder, a list (CSV) or an image; an image in any other form of `ImageLike`;
(N, H, W, 3) pixels; or several images in these forms."""

Channels: TypeAlias = Literal["rgb", "bgr"]
"""Colour order of arrays; OpenCV's frames are `bgr`. Files and PIL images know their own."""

Boxes: TypeAlias = object
"""(K, 4) numbers x1, y1, x2, y2 in pixels, or an object with these as `xyxy`, such as supervision's
Detections; of several images, a list with one such entry for each image."""


class Pixels(TypedDict, total=False):
    """How the pixels of images are read; see `Reid.embed`."""

    channels: Channels
    boxes: Boxes
    padding: float


def source_of(
    container: Container, images: Images, *, once: bool = False, **how: Unpack[Pixels]
) -> ImageSource:
    """Open a folder, a list or the images that were given; see `give_images`.

    Raises:
        DatasetError: An image or box is not as `Reid.embed` takes it, or there are no images.
    """
    if isinstance(images, str | Path) and how.get("boxes") is None:
        require_channels(how.get("channels", "rgb"))
        listed: ImageSource = container.images()(Path(images))
        return listed
    given: ImageSource = container.given_images()(images, once=once, **how)
    return given
