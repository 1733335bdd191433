"""Export a gallery to a file, or import it, with only a part of it in memory.

Letters: N images of a part, D width.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from reid.domain.errors import GalleryError
from reid.domain.services.gallery import Gallery
from reid.domain.values.galleries import (
    AuditAction,
    AuditEntry,
    GalleryDescription,
    KeptImage,
    NewImage,
    require_same_encoder,
)
from reid.ports.gallery_archive import ArchivedGallery, ArchivePart, GalleryArchive

IMPORTED = "imported: "
"""Prefix of the source of imported images, which is not a folder of this machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferGallery:
    """Writes a gallery to a file, and reads it into another gallery."""

    now: Callable[[], str]  # the time as galleries write it

    def export(self, gallery: Gallery, archive: GalleryArchive) -> GalleryDescription:
        """Write everything except thumbnails and audit log.

        Raises:
            GalleryError: The gallery is empty or was changed meanwhile, the file exists or cannot
                be written, or the file was written and the audit log was not.
        """
        content = gallery.describe()
        if content.fingerprint is None or not content.num_images:
            raise GalleryError(f"{gallery.place} is empty: there is nothing to export")
        archive.write(
            ArchivedGallery(
                fingerprint=content.fingerprint,
                num_images=content.num_images,
                calibrations=content.calibrations,
                parts=lambda: _parts_of(gallery, version=content.version),
            )
        )
        entry = self._entry(AuditAction.EXPORT, archive.place, content.num_images)
        try:
            gallery.note(entry)
        except GalleryError as error:
            raise GalleryError(
                f"{archive.place} is complete, but the audit log of {gallery.place} does not "
                f"mention it: {error}"
            ) from error
        return content

    def import_from(
        self, archive: GalleryArchive, *, open_gallery: Callable[[], Gallery]
    ) -> GalleryDescription:
        """Add the content of a file to a gallery, in parts that are kept one by one.

        Images that the gallery already keeps unchanged are skipped, so that importing the same file
        again finishes an interrupted import. The file's calibrations are copied at the end where
        the gallery was empty, or holds nothing else and has none.

        `open_gallery` is called once the file is verified; the gallery is closed at the end.

        Raises:
            GalleryError: The file is damaged, or by another encoder than the gallery, and nothing
                was added; or the gallery cannot be written, and the message says what was added.
        """
        content = archive.read()
        _require_distinct(content, place=archive.place)
        with closing(open_gallery()) as gallery:
            kept, place = gallery.describe().fingerprint, gallery.place
            require_same_encoder(content.fingerprint, kept=kept, place=place, what=archive.place)
            is_new = gallery.describe().num_images == 0
            self._add(gallery, content, archive=archive, is_new=is_new)
            after = gallery.describe()
            holds_nothing_else = after.num_images == content.num_images
            if content.calibrations and (is_new or (holds_nothing_else and not after.calibrations)):
                entry = self._entry(AuditAction.CALIBRATE, archive.place, 0)
                gallery.calibrate(content.calibrations, entry=entry)
            return gallery.describe()

    def _add(
        self, gallery: Gallery, content: ArchivedGallery, *, archive: GalleryArchive, is_new: bool
    ) -> None:
        num_done = num_added = 0
        try:
            for images, vectors in content.parts():
                part = [_imported(image) for image in images]
                rows = range(len(part)) if is_new else _lacking(gallery, part, vectors)
                # So the audit log shows whether the import is complete.
                subject = archive.place
                if len(part) < content.num_images:
                    subject += (
                        f", images {num_done + 1} to {num_done + len(part)} of {content.num_images}"
                    )
                if rows:
                    gallery.add(
                        [part[row] for row in rows],
                        vectors[list(rows)],
                        fingerprint=content.fingerprint,
                        entry=self._entry(AuditAction.IMPORT, subject, len(rows)),
                    )
                num_done += len(part)
                num_added += len(rows)
        except GalleryError as error:
            if not num_added:
                raise
            raise GalleryError(
                f"{error}; the first {num_done} of {content.num_images} images are in "
                f"{gallery.place} already: import the file again to continue from there"
            ) from error
        if not num_added:
            gallery.note(self._entry(AuditAction.IMPORT, archive.place, 0))

    def _entry(self, action: AuditAction, subject: str, count: int) -> AuditEntry:
        return AuditEntry(at=self.now(), action=action, subject=subject, num_images=count)


def _parts_of(gallery: Gallery, *, version: int) -> Iterator[ArchivePart]:
    for page in gallery.pages():
        images = [
            NewImage(
                name=kept.name,
                source=kept.source,
                content=kept.content,
                label=kept.label,
                camera=kept.camera,
                expires_at=kept.expires_at,
            )
            for kept in page
        ]
        yield images, gallery.vectors([kept.key for kept in page])
    if gallery.describe().version != version:
        raise GalleryError(
            f"{gallery.place} was changed while it was exported, so nothing was written: export it "
            "again while nobody adds or removes images"
        )


def _imported(image: NewImage) -> NewImage:
    return replace(image, source=IMPORTED + image.source.removeprefix(IMPORTED))


def _require_distinct(content: ArchivedGallery, *, place: str) -> None:
    """Refuse a file with two images of one source and name.

    To save memory, 8-byte hashes are compared first.
    """

    def named() -> Iterator[tuple[str, str]]:
        return (_name_of(_imported(image)) for images, _ in content.parts() for image in images)

    numbers = np.fromiter(map(hash, named()), dtype=np.int64, count=content.num_images)
    numbers.sort()
    suspects = set(numbers[1:][numbers[1:] == numbers[:-1]].tolist())
    seen: set[tuple[str, str]] = set()
    for source, name in named() if suspects else ():
        if (source, name) in seen:
            raise GalleryError(f"{place} holds {name} of {source} twice: nothing was imported")
        if hash((source, name)) in suspects:
            seen.add((source, name))


def _name_of(image: NewImage | KeptImage) -> tuple[str, str]:
    return image.source, image.name


def _lacking(gallery: Gallery, images: Sequence[NewImage], vectors: Tensor) -> list[int]:
    """List the rows whose record or (N, D) vector the gallery lacks or keeps otherwise."""
    names_by_source: dict[str, list[str]] = {}
    for image in images:
        names_by_source.setdefault(image.source, []).append(image.name)
    kept = {
        _name_of(image): image
        for source, names in names_by_source.items()
        for image in gallery.images(source=source, names=names)
    }
    same: dict[int, int] = {}
    for row, image in enumerate(images):
        known = kept.get(_name_of(image))
        if known is not None and known.says_the_same_as(image):
            same[row] = known.key
    if same:
        found = gallery.vectors([*same.values()])
        is_other = (found != vectors[[*same]]).any(dim=1).tolist()
        same = {row: same[row] for row, other in zip(same, is_other, strict=True) if not other}
    return [row for row in range(len(images)) if row not in same]
