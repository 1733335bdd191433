"""Fill a gallery from a list of images, embedding only what it has not seen."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from torch import Tensor

from reid.domain.errors import GalleryError
from reid.domain.services.embedding import Embedder
from reid.domain.services.enrolment_plan import EnrolmentPlan
from reid.domain.services.gallery import Gallery
from reid.domain.services.lists import camids_of, first_without_camera
from reid.domain.values.galleries import (
    AuditAction,
    AuditEntry,
    EncoderFingerprint,
    GalleryChanges,
    NewImage,
    require_same_encoder,
)
from reid.domain.values.samples import ListedImage, Split
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
        an earlier expiry time. With `mirrors`, images of this source that it no longer lists are
        removed. Without `fingerprint`, that of `fingerprint_matching` holds. After `expires_at`,
        `check` removes the images; None: never.

        Raises:
            DatasetError: No readable image, or a readable one without a label, or with one that
                holds a control character.
            GalleryError: Another encoder made what is kept, or nothing can be written.
        """
        fingerprint = fingerprint or self.fingerprint_matching(
            gallery, source.images(), what="the new images"
        )
        plan = EnrolmentPlan(
            gallery,
            source,
            mirrors=mirrors,
            uses_cameras=fingerprint.uses_cameras,
            keeps_thumbnails=self.keeps_thumbnails,
            expires_at=expires_at,
        )
        action = AuditAction.BUILD if mirrors else AuditAction.ADD
        add = partial(self._add, gallery, source, fingerprint=fingerprint, action=action)
        for part in plan.parts(PART_SIZE):
            vectors = gallery.vectors([update.vector_of.key for update in part])
            add([update.image for update in part], vectors)
        for images, vectors in self._embedded(source, plan.fresh, fingerprint):
            add([plan.new_image(image) for image in images], vectors)
        if plan.gone:
            gallery.remove(plan.gone, entry=self._entry(AuditAction.REMOVE, source, len(plan.gone)))
        return plan.changes()

    def _embedded(
        self, source: ImageSource, images: Sequence[ListedImage], fingerprint: EncoderFingerprint
    ) -> Iterator[tuple[Sequence[ListedImage], Tensor]]:
        """Yield images and their (N, D) vectors, part by part."""
        if not images:
            return
        num_cameras = self.embedder.num_cameras if fingerprint.uses_cameras else 0
        start = 0
        for vectors in self.embedder.embed_parts(
            source.reader,
            [image.name for image in images],
            camids=camids_of(images, num_cameras=num_cameras),
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
