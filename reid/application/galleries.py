"""Maintain a gallery: add and remove images, forget people, check and compact it."""

from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import closing
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import chain

from reid.domain.errors import GalleryError
from reid.domain.services.enrolment import Enrolment
from reid.domain.services.gallery import Gallery
from reid.domain.values.counts import counted
from reid.domain.values.durations import parse_duration, time_after
from reid.domain.values.galleries import (
    AuditAction,
    AuditEntry,
    GalleryChanges,
    GalleryDescription,
    KeptImage,
)
from reid.ports.dataset import ImageSource

_ADVICE = {
    "label": "list the gallery to see its labels",
    "image": "give its name as in an answer, or its whole path",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolmentOutcome:
    """What a gallery holds after images were added, and what changed."""

    place: str
    content: GalleryDescription
    num_labels: int  # of the listed images
    is_new: bool  # whether the gallery never held images before
    changes: GalleryChanges


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovalOutcome:
    """What was removed from a gallery."""

    place: str
    num_images: int
    num_left: int
    residual_traces: str | None = None
    """Where bytes of erased images may remain, and what clears them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOutcome:
    """Damage in a gallery, and the images that had expired."""

    place: str
    num_images: int
    num_expired: int  # erased just now
    faults: tuple[str, ...]
    residual_traces: str | None = None  # as in a removal, where anything was erased


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelContent:
    """A gallery's images of a person."""

    label: str
    num_images: int
    cameras: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GalleryContent:
    """What a gallery holds, and what was done to it."""

    place: str
    content: GalleryDescription
    num_expiring: int  # images with an expiry time
    labels: tuple[LabelContent, ...]
    audit: tuple[AuditEntry, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrollGallery:
    """Adds images to a gallery."""

    enrolment: Enrolment
    now: Callable[[], str]
    expire_after: str | None  # how long images are kept, such as `30d`; None: indefinitely

    def run(
        self, source: ImageSource, *, open_gallery: Callable[[], Gallery], mirrors: bool
    ) -> EnrolmentOutcome:
        """Bring a gallery up to date with a list of images.

        `open_gallery` is called once they are listed; the gallery is closed at the end. `mirrors`
        also removes images that the source no longer lists.

        Raises:
            DatasetError: No readable image, or one without a label.
            GalleryError: Another encoder made the gallery, or it cannot be written.
        """
        num_labels = len({image.label for image in source.images()})
        expires_at = None
        if self.expire_after is not None:
            expires_at = time_after(self.now(), parse_duration(self.expire_after))
        with closing(open_gallery()) as gallery:
            is_new = gallery.describe().version == 0
            changes = self.enrolment.enroll(gallery, source, mirrors=mirrors, expires_at=expires_at)
            return EnrolmentOutcome(
                place=gallery.place,
                content=gallery.describe(),
                num_labels=num_labels,
                is_new=is_new,
                changes=changes,
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class MaintainGallery:
    """Removes images from a gallery, checks and compacts it."""

    now: Callable[[], str]  # the time as galleries write it

    def remove(
        self, gallery: Gallery, *, names: Sequence[str] = (), labels: Sequence[str] = ()
    ) -> RemovalOutcome:
        """Remove images by their names or labels; all or none.

        Raises:
            GalleryError: The gallery has no such name or label.
        """
        under_sources = sorted({end for name in names for end in _ends(name)})
        candidates = {*gallery.images(labels=labels), *gallery.images(names=under_sources)}
        found = [
            image
            for image in sorted(candidates, key=lambda image: image.key)
            if image.label in labels or any(name in names for name in _names(image))
        ]
        named = {name for image in found for name in _names(image)}
        _require_all(names, named, what="image", place=gallery.place)
        people = {image.label for image in found}
        _require_all(labels, people, what="label", place=gallery.place)
        subject = f"{counted(len(names), 'name')}, {counted(len(labels), 'label')}"
        entry = self._entry(AuditAction.REMOVE, subject, len(found))
        return _removal(gallery, gallery.remove([image.key for image in found], entry=entry))

    def remove_keys(self, gallery: Gallery, keys: Sequence[int]) -> RemovalOutcome:
        """Remove images by their keys, which are in answers; unknown keys are ignored."""
        entry = self._entry(AuditAction.REMOVE, counted(len(keys), "key"), len(keys))
        return _removal(gallery, gallery.remove(keys, entry=entry))

    def forget(self, gallery: Gallery, label: str) -> RemovalOutcome:
        """Erase a person, and verify it; the outcome names what a server may still hold.

        The audit log gets a line with a digest of the label, which finds it for who knows the
        label.

        Raises:
            GalleryError: Nobody has the label, or something of the person is left.
        """
        keys = [image.key for image in gallery.images(labels=[label])]
        _require_all([label], {label} if keys else set(), what="label", place=gallery.place)
        digest = f"sha256:{sha256(label.encode()).hexdigest()}"
        num_erased = gallery.erase(keys, entry=self._entry(AuditAction.FORGET, digest, len(keys)))
        left = len(gallery.images(labels=[label])) + len(gallery.images(keys=keys))
        faults = gallery.check()
        if left or faults:
            raise GalleryError(
                f"{gallery.place} erased {counted(num_erased, 'image')}, but "
                + "; ".join([f"{counted(left, 'image')} of the label came since", *faults])
                + ": run it again, then check the gallery"
            )
        return replace(_removal(gallery, num_erased), residual_traces=gallery.residual_traces)

    def check(self, gallery: Gallery) -> CheckOutcome:
        """Erase what has expired, then look for damage."""
        now = self.now()
        expired = [image.key for image in gallery.images(expired_at=now)]
        if expired:
            subject = f"images that were to be kept until {now}"
            gallery.erase(expired, entry=self._entry(AuditAction.EXPIRE, subject, len(expired)))
        return CheckOutcome(
            place=gallery.place,
            num_images=gallery.describe().num_images,
            num_expired=len(expired),
            faults=gallery.check(),
            residual_traces=gallery.residual_traces if expired else None,
        )

    def compact(self, gallery: Gallery) -> GalleryDescription:
        """Free the space of removed images and rebuild the index."""
        gallery.compact()
        content = gallery.describe()
        gallery.note(self._entry(AuditAction.COMPACT, "everything", content.num_images))
        return content

    def list(self, gallery: Gallery) -> GalleryContent:
        """List the gallery's people and its audit log."""
        cameras: dict[str, list[str | None]] = {}
        num_expiring = 0
        for image in chain.from_iterable(gallery.pages()):
            cameras.setdefault(image.label, []).append(image.camera)
            num_expiring += image.expires_at is not None
        return GalleryContent(
            place=gallery.place,
            content=gallery.describe(),
            num_expiring=num_expiring,
            labels=tuple(
                LabelContent(
                    label=label,
                    num_images=len(found),
                    cameras=tuple(sorted({camera for camera in found if camera is not None})),
                )
                for label, found in sorted(cameras.items())
            ),
            audit=gallery.audit(),
        )

    def _entry(self, action: AuditAction, subject: str, count: int) -> AuditEntry:
        return AuditEntry(at=self.now(), action=action, subject=subject, num_images=count)


def _ends(name: str) -> Iterator[str]:
    """Yield the names an image may have under its source, given its name or whole path."""
    while name:
        yield name
        name = name.partition("/")[2]


def _names(image: KeptImage) -> tuple[str, str]:
    """Name an image as its source does, and by its whole path."""
    return image.name, f"{image.source}/{image.name}"


def _require_all(wanted: Sequence[str], found: AbstractSet[str], *, what: str, place: str) -> None:
    missing = [name for name in wanted if name not in found]
    if missing:
        raise GalleryError(
            f"{place} has no {what} {missing[0]!r}, so nothing was changed; {_ADVICE[what]}"
        )


def _removal(gallery: Gallery, count: int) -> RemovalOutcome:
    return RemovalOutcome(
        place=gallery.place, num_images=count, num_left=gallery.describe().num_images
    )
