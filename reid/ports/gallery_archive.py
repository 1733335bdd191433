"""A gallery in one file, to be taken elsewhere."""

from typing import Protocol

from reid.domain.values.gallery_archives import ArchivedGallery


class GalleryArchive(Protocol):
    """One file."""

    @property
    def place(self) -> str:
        """Where it is, in words."""
        ...

    def write(self, content: ArchivedGallery) -> None:
        """Write the file, whole or not at all.

        Raises:
            GalleryError: It exists, or cannot be written.
        """
        ...

    def read(self) -> ArchivedGallery:
        """Read the file and compare it with the digest that it carries.

        Raises:
            GalleryError: It is missing, damaged, no gallery, or of a later version of reid; a name
                in it would lead out of its folder.
        """
        ...
