"""Some of a source's images."""

from collections.abc import Sequence

from reid.domain.services.image_lists import require_readable
from reid.domain.services.lists import ListedImages
from reid.domain.values.samples import ListedImage, UnreadableImage
from reid.ports.dataset import ImageSource


class ImageSelection(ListedImages):
    """An image source that lists chosen images of another one."""

    def __init__(self, source: ImageSource, images: Sequence[ListedImage]) -> None:
        """Keep which of the source's images to list."""
        super().__init__(source.place, reader=source.reader, list_images=lambda: images)


def split_off_unreadable(
    source: ImageSource, *, role: str
) -> tuple[ImageSelection, tuple[UnreadableImage, ...]]:
    """Decode every image once; return the readable images and the others.

    Raises:
        DatasetError: No image can be read; the message calls them by `role`.
    """
    listed = source.images()
    unreadable = source.reader.find_unreadable([image.name for image in listed])
    bad = {image.name for image in unreadable}
    readable = ImageSelection(source, [one for one in listed if one.name not in bad])
    require_readable(readable.images(), unreadable, role=role)
    return readable, unreadable
