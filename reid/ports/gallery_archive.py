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
        """Write the file, whole or not at all; no more than a part of it is in memory.

        Raises:
            GalleryError: It exists, or cannot be written, or the content cannot be read.
            ValueError: There are more or fewer images or vectors than the content says.
        """
        ...

    def read(self) -> ArchivedGallery:
        """Verify the whole file, of which no more than a part is in memory at a time.

        Digest, records and norms are looked at before anything is given. The parts are read when
        they are asked for, and raise a GalleryError where the file is another by then.

        Raises:
            GalleryError: It is missing, damaged, no gallery, or of a later version of reid; a name
                in it would lead out of its folder; a vector is not of unit norm.
        """
        ...
