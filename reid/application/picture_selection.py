"""Some of a source's pictures."""

from collections.abc import Sequence

from reid.domain.services.lists import ListedPictures
from reid.domain.services.picture_lists import require_readable
from reid.domain.values.samples import Picture, UnreadableImage
from reid.ports.dataset import PictureSource


class PictureSelection(ListedPictures):
    """A picture source that lists only chosen pictures of another one."""

    def __init__(self, source: PictureSource, pictures: Sequence[Picture]) -> None:
        """Keep which of the source's pictures to list."""
        super().__init__(source.place, reader=source.reader, list_pictures=lambda: pictures)


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
    unreadable = source.reader.find_unreadable([picture.image for picture in listed])
    bad = {picture.image for picture in unreadable}
    readable = PictureSelection(source, [p for p in listed if p.image not in bad])
    require_readable(readable.pictures(), unreadable, role=role)
    return readable, unreadable
