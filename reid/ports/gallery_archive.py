"""A gallery in one file, for export and import.

Letters: N images of a part, D width.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from torch import Tensor

from reid.domain.values.galleries import EncoderFingerprint, NewImage
from reid.domain.values.open_set import Calibration

ArchivePart: TypeAlias = tuple[Sequence[NewImage], Tensor]
"""N images without thumbnails, and their (N, D) float32 vectors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivedGallery:
    """Vectors and what is known of their images; neither thumbnails nor the audit log."""

    fingerprint: EncoderFingerprint
    num_images: int
    calibrations: tuple[Calibration, ...]
    parts: Callable[[], Iterator[ArchivePart]]
    """Each call starts from the first image; only a part of a large gallery is in memory."""


class GalleryArchive(Protocol):
    """One file."""

    @property
    def place(self) -> str:
        """Where it is, for messages."""

    def write(self, content: ArchivedGallery) -> None:
        """Write the file, as a whole or not at all, with only a part of it in memory.

        Raises:
            GalleryError: It exists, or cannot be written, or the content cannot be read.
            ValueError: The content states another number of images or vectors than it has.
        """

    def read(self) -> ArchivedGallery:
        """Verify the whole file, with only a part of it in memory.

        Digest, records and norms are checked before anything is returned. The parts are read when
        they are needed, and raise a GalleryError where the file has changed by then.

        Raises:
            GalleryError: It is missing, damaged, no gallery, or of a later version of reid; a name
                in it would lead out of its folder; a vector is not of unit norm.
        """
