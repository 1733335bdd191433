"""Take a gallery elsewhere in one file."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

from reid.domain.errors import GalleryError
from reid.domain.values.galleries import AuditAction, AuditEntry, GalleryDescription, NewPicture
from reid.domain.values.gallery_archives import ArchivedGallery
from reid.ports.gallery import Gallery
from reid.ports.gallery_archive import GalleryArchive

IMPORTED = "imported: "
"""Stands before the source of pictures that came in a file: it is no folder of this machine."""


class TransferGallery:
    """Writes a gallery to a file, and reads it into another gallery."""

    def __init__(self, *, now: Callable[[], str]) -> None:
        """Keep the clock, which tells the time as galleries write it."""
        self._now = now

    def export(self, gallery: Gallery, archive: GalleryArchive) -> GalleryDescription:
        """Write everything but thumbnails and audit log.

        Raises:
            GalleryError: It is empty, or the file exists or cannot be written.
        """
        content = gallery.describe()
        pictures = gallery.pictures()
        if content.stamp is None or not pictures:
            raise GalleryError(f"{gallery.place} is empty: there is nothing to export")
        archive.write(
            ArchivedGallery(
                stamp=content.stamp,
                pictures=tuple(
                    NewPicture(
                        image=kept.image,
                        source=kept.source,
                        content=kept.content,
                        label=kept.label,
                        camera=kept.camera,
                        expires_at=kept.expires_at,
                    )
                    for kept in pictures
                ),
                vectors=gallery.vectors([picture.key for picture in pictures]),
                calibrations=content.calibrations,
            )
        )
        gallery.note(self._entry(AuditAction.EXPORT, archive, len(pictures)))
        return content

    def import_from(
        self, archive: GalleryArchive, *, open_gallery: Callable[[], Gallery]
    ) -> GalleryDescription:
        """Add what a file holds to a gallery in one transaction.

        The file's calibrations are taken over where the gallery was empty.

        Args:
            archive: The file.
            open_gallery: Called once the file is verified; the gallery is closed at the end.

        Raises:
            GalleryError: The file is damaged, or by another encoder than the gallery.
        """
        content = archive.read()
        pictures = [_imported(picture) for picture in content.pictures]
        with closing(open_gallery()) as gallery:
            was_empty = gallery.describe().num_pictures == 0
            entry = self._entry(AuditAction.IMPORT, archive, len(pictures))
            gallery.add(pictures, content.vectors, stamp=content.stamp, entry=entry)
            if was_empty and content.calibrations:
                entry = self._entry(AuditAction.CALIBRATE, archive, 0)
                gallery.calibrate(content.calibrations, entry=entry)
            return gallery.describe()

    def _entry(self, action: AuditAction, archive: GalleryArchive, count: int) -> AuditEntry:
        return AuditEntry(at=self._now(), action=action, subject=archive.place, num_pictures=count)


def _imported(picture: NewPicture) -> NewPicture:
    if picture.source.startswith(IMPORTED):
        return picture
    return replace(picture, source=f"{IMPORTED}{picture.source}")
