"""Some of a source's pictures."""

from collections.abc import Sequence

from torch import Tensor

from reid.domain.services.picture_lists import require_readable
from reid.domain.values.samples import ImageSize, Picture, Resampling, UnreadableImage
from reid.ports.dataset import PictureSource


class PictureSelection:
    """A picture source that lists only chosen pictures of another one."""

    def __init__(self, source: PictureSource, pictures: Sequence[Picture]) -> None:
        """Keep the source and which of its pictures to list."""
        self._source = source
        self._pictures = tuple(pictures)

    @property
    def place(self) -> str:
        """As the source's."""
        return self._source.place

    def pictures(self) -> tuple[Picture, ...]:
        """List the chosen pictures."""
        return self._pictures

    def read(self, images: Sequence[str], *, size: ImageSize, resampling: Resampling) -> Tensor:
        """Read as the source does."""
        return self._source.read(images, size=size, resampling=resampling)

    def find_unreadable(self, images: Sequence[str]) -> tuple[UnreadableImage, ...]:
        """Decode as the source does."""
        return self._source.find_unreadable(images)

    def thumbnails(self, images: Sequence[str], *, height: int) -> tuple[bytes | None, ...]:
        """Make them as the source does."""
        return self._source.thumbnails(images, height=height)

    def content_digests(self, images: Sequence[str]) -> tuple[str, ...]:
        """Digest as the source does."""
        return self._source.content_digests(images)


def split_off_unreadable(
    source: PictureSource, *, role: str
) -> tuple[PictureSelection, tuple[UnreadableImage, ...]]:
    """Decode every picture once; return those that can be read, and those that cannot.

    Args:
        source: Lists the pictures.
        role: What to call them in an error.

    Raises:
        DatasetError: None can be read.
    """
    listed = source.pictures()
    unreadable = source.find_unreadable([picture.image for picture in listed])
    bad = {picture.image for picture in unreadable}
    readable = PictureSelection(source, [p for p in listed if p.image not in bad])
    require_readable(readable.pictures(), unreadable, role=role)
    return readable, unreadable
