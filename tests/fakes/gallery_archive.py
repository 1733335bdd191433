"""An exported gallery in memory."""

from reid.domain.errors import GalleryError
from reid.domain.values.gallery_archives import ArchivedGallery


class FakeArchive:
    def __init__(self) -> None:
        self.content: ArchivedGallery | None = None

    @property
    def place(self) -> str:
        return "fake archive"

    def write(self, content: ArchivedGallery) -> None:
        if self.content is not None:
            raise GalleryError("the fake archive exists")
        self.content = content

    def read(self) -> ArchivedGallery:
        if self.content is None:
            raise GalleryError("the fake archive does not exist")
        return self.content
