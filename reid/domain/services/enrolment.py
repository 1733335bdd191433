"""Fill a gallery from a list of images, embedding only what it has not seen."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from torch import Tensor

from reid.domain.errors import GalleryError
from reid.domain.services.embedding import Embedder
from reid.domain.services.enrolment_plan import EnrolmentPlan
from reid.domain.services.gallery import Gallery
from reid.domain.services.lists import (
    camids_of,
    first_without_camera,
    require_labels,
    require_readable,
    require_writable_names,
)
from reid.domain.values.galleries import (
    AuditAction,
    AuditEntry,
    EncoderFingerprint,
    GalleryChanges,
    NewImage,
    require_same_encoder,
)
from reid.domain.values.samples import ListedImage, Split, UnreadableImage
from reid.ports.dataset import ImageSource

PART_SIZE = 1024  # images of a transaction: so many are embedded again after an interruption
THUMBNAIL_HEIGHT = 128  # pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolment:
    """Brings a gallery up to date with a list of images."""

    embedder: Embedder
    fingerprint: Callable[[], EncoderFingerprint]  # the embedder's, cameras left out
    now: Callable[[], str]  # the time, as galleries write it
    keeps_thumbnails: bool = False  # images that lack one get theirs, too

    def fingerprint_for(self, *lists: Sequence[ListedImage]) -> EncoderFingerprint:
        """Give the fingerprint for vectors of lists that are to be compared with each other.

        The encoder uses cameras if it knows the camera of every image of every list.
        """
        num_cameras = self.embedder.num_cameras
        uses_cameras = all(
            first_without_camera(images, num_cameras=num_cameras) is None for images in lists
        )
        return replace(self.fingerprint(), uses_cameras=uses_cameras and num_cameras > 0)

    def fingerprint_matching(
        self, gallery: Gallery, images: Sequence[ListedImage], *, what: str
    ) -> EncoderFingerprint:
        """Give the fingerprint for vectors of images that are to be compared with a gallery's.

        An empty gallery takes any encoder; `what` is what an error calls the images.

        Raises:
            GalleryError: Another encoder made what is kept, or it used cameras that these images do
                not name.
        """
        kept = gallery.describe().fingerprint
        if kept is None:
            return self.fingerprint_for(images)
        fingerprint = replace(self.fingerprint(), uses_cameras=kept.uses_cameras)
        require_same_encoder(fingerprint, kept=kept, place=gallery.place, what=what)
        if kept.uses_cameras:
            self._require_cameras(images, place=gallery.place, what=what)
        return fingerprint

    def enroll(
        self,
        gallery: Gallery,
        source: ImageSource,
        *,
        mirrors: bool,
        fingerprint: EncoderFingerprint | None = None,
        expires_at: str | None = None,
    ) -> GalleryChanges:
        """Add what a gallery lacks, in parts that are kept one by one.

        An image whose content the gallery knows, under any name, is not embedded again, and keeps
        an earlier expiry time.

        Args:
            gallery: To be filled.
            source: Lists the images.
            mirrors: Remove images of this source that it no longer lists.
            fingerprint: Of the vectors; None: as `fingerprint_matching` gives it.
            expires_at: When `check` is to remove the images; None: never.

        Raises:
            DatasetError: No readable image, or a readable one without a label, or with one that
                holds a control character.
            GalleryError: Another encoder made what is kept, or nothing can be written.
        """
        listed = source.images()
        fingerprint = fingerprint or self.fingerprint_matching(
            gallery, listed, what="the new images"
        )
        plan = EnrolmentPlan(
            gallery,
            source,
            mirrors=mirrors,
            uses_cameras=fingerprint.uses_cameras,
            keeps_thumbnails=self.keeps_thumbnails,
            expires_at=expires_at,
        )
        unreadable = source.reader.find_unreadable([image.name for image in plan.fresh])
        enrolled = _enrolled_names(listed, unreadable)
        fresh = [image for image in plan.fresh if image.name in enrolled]
        action = AuditAction.BUILD if mirrors else AuditAction.ADD
        add = partial(self._add, gallery, source, fingerprint=fingerprint, action=action)
        for part in plan.parts(PART_SIZE):
            vectors = gallery.vectors([update.vector_of.key for update in part])
            add([update.image for update in part], vectors)
        for images, vectors in self._embedded(source, fresh, fingerprint):
            add([plan.new_image(image) for image in images], vectors)
        kept = plan.kept if mirrors else {}
        gone = [image.key for name, image in kept.items() if name not in enrolled]
        if gone:
            gallery.remove(gone, entry=self._entry(AuditAction.REMOVE, source, len(gone)))
        return GalleryChanges(
            num_listed=len(listed),
            num_embedded=len(fresh),
            num_updated=len(plan.updates),
            num_unchanged=len(listed) - len(plan.updates) - len(plan.fresh),
            num_removed=len(gone),
            unreadable=unreadable,
        )

    def _embedded(
        self, source: ImageSource, images: Sequence[ListedImage], fingerprint: EncoderFingerprint
    ) -> Iterator[tuple[Sequence[ListedImage], Tensor]]:
        """Yield images and their (N, D) vectors, part by part."""
        if not images:
            return
        camids = None
        if fingerprint.uses_cameras:
            camids = camids_of(images, num_cameras=self.embedder.num_cameras)
        start = 0
        for vectors in self.embedder.embed_parts(
            source.reader,
            [image.name for image in images],
            camids=camids,
            subset=Split.GALLERY,
            part_size=PART_SIZE,
        ):
            yield images[start : start + len(vectors)], vectors
            start += len(vectors)

    def _add(
        self,
        gallery: Gallery,
        source: ImageSource,
        images: Sequence[NewImage],
        vectors: Tensor,
        *,
        fingerprint: EncoderFingerprint,
        action: AuditAction,
    ) -> None:
        if self.keeps_thumbnails:
            names = [image.name for image in images]
            small = source.reader.thumbnails(names, height=THUMBNAIL_HEIGHT)
            images = [
                replace(image, thumbnail=thumbnail)
                for image, thumbnail in zip(images, small, strict=True)
            ]
        entry = self._entry(action, source, len(images))
        gallery.add(images, vectors, fingerprint=fingerprint, entry=entry)

    def _entry(self, action: AuditAction, source: ImageSource, count: int) -> AuditEntry:
        return AuditEntry(at=self.now(), action=action, subject=source.place, num_images=count)

    def _require_cameras(self, images: Sequence[ListedImage], *, place: str, what: str) -> None:
        stray = first_without_camera(images, num_cameras=self.embedder.num_cameras)
        if stray is None:
            return
        if self.embedder.num_cameras == 0:
            raise GalleryError(
                f"{place} was made by an encoder that uses cameras, but cameras are left out of "
                f"{what}: set evaluation.use_cameras to true"
            )
        raise GalleryError(
            f"{place} was made by an encoder that uses cameras, but of {what} {stray.name} has "
            f"none that it knows (camera: {stray.camera}): name the cameras as Market-1501 does, "
            "or build another gallery with evaluation.use_cameras=false"
        )


def _enrolled_names(
    listed: Sequence[ListedImage], unreadable: Sequence[UnreadableImage]
) -> set[str]:
    """Leave out unreadable images, and refuse those that cannot be kept."""
    left_out = {image.name for image in unreadable}
    readable = [image for image in listed if image.name not in left_out]
    require_readable(readable, unreadable, role="gallery")
    require_labels(readable)
    require_writable_names(readable)
    return {image.name for image in readable}
