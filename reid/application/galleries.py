"""Keep a gallery: fill it, take images out, forget people, look after it."""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from hashlib import sha256

from reid.domain.errors import GalleryError
from reid.domain.services.enrolment import Enrolment
from reid.domain.services.gallery import Gallery
from reid.domain.services.gallery_pages import each_image
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

_WHO_TELLS = {
    "label": "reid gallery list tells the labels",
    "image": "give its name as reid identify tells it, or its whole path",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FillingOutcome:
    """What a gallery holds after images were added, and what that took."""

    place: str
    content: GalleryDescription
    num_labels: int
    """Of the images listed."""

    is_new: bool
    """Whether nothing had been added before."""

    changes: GalleryChanges


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovalOutcome:
    """Images taken out."""

    place: str
    num_images: int
    num_left: int
    residual_traces: str | None = None
    """Where bytes of erased images may still lie, and what clears them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOutcome:
    """What was found in a gallery, and what had expired."""

    place: str
    num_images: int
    num_expired: int
    """Images that were erased because their time had come."""

    faults: tuple[str, ...]
    residual_traces: str | None = None
    """As of a removal, where anything was erased."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelContent:
    """What a gallery holds of a person."""

    label: str
    num_images: int
    cameras: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GalleryContent:
    """What a gallery holds, and what was done to it."""

    place: str
    content: GalleryDescription
    num_expiring: int
    """Images that are not kept for ever."""

    labels: tuple[LabelContent, ...]
    audit: tuple[AuditEntry, ...]


class EnrollGallery:
    """Adds images to a gallery."""

    def __init__(
        self, *, enrolment: Enrolment, now: Callable[[], str], expire_after: str | None
    ) -> None:
        """Keep the parts.

        Args:
            enrolment: Embeds what a gallery lacks.
            now: Tells the time, as galleries write it.
            expire_after: How long images are kept, such as `30d`; None: for ever.
        """
        self._enrolment = enrolment
        self._now = now
        self._expire_after = None if expire_after is None else parse_duration(expire_after)

    def run(
        self, source: ImageSource, *, open_gallery: Callable[[], Gallery], mirrors: bool
    ) -> FillingOutcome:
        """Bring a gallery up to date with a list of images.

        Args:
            source: Lists them.
            open_gallery: Called once the images are listed; the gallery is closed at the end.
            mirrors: Also remove what the source does not list any more.

        Raises:
            DatasetError: No readable image, or one without a label.
            GalleryError: Another encoder made the gallery, or it cannot be written.
        """
        num_labels = len({image.label for image in source.images()})
        expires_at = None
        if self._expire_after is not None:
            expires_at = time_after(self._now(), self._expire_after)
        with closing(open_gallery()) as gallery:
            is_new = gallery.describe().version == 0
            changes = self._enrolment.enroll(
                gallery, source, mirrors=mirrors, expires_at=expires_at
            )
            return FillingOutcome(
                place=gallery.place,
                content=gallery.describe(),
                num_labels=num_labels,
                is_new=is_new,
                changes=changes,
            )


class MaintainGallery:
    """Takes images out of a gallery, and looks after it."""

    def __init__(self, *, now: Callable[[], str]) -> None:
        """Keep the clock, which tells the time as galleries write it."""
        self._now = now

    def remove(
        self, gallery: Gallery, *, names: Sequence[str] = (), labels: Sequence[str] = ()
    ) -> RemovalOutcome:
        """Take images out by their names, or by their labels; all or none.

        Raises:
            GalleryError: A name or a label is not there.
        """
        perhaps = {
            *gallery.images(labels=labels),
            *gallery.images(names=sorted({end for name in names for end in _ends(name)})),
        }
        kept = sorted(perhaps, key=lambda image: image.key)
        found = [image for image in kept if _is_named(image, names, labels)]
        named = {name for image in found for name in _names(image)}
        _require_all(names, named, what="image", place=gallery.place)
        people = {image.label for image in found}
        _require_all(labels, people, what="label", place=gallery.place)
        subject = f"{counted(len(names), 'name')}, {counted(len(labels), 'label')}"
        entry = self._entry(AuditAction.REMOVE, subject, count=len(found))
        num_removed = gallery.remove([image.key for image in found], entry=entry)
        return _removal(gallery, num_removed)

    def remove_keys(self, gallery: Gallery, keys: Sequence[int]) -> RemovalOutcome:
        """Take images out by their keys, which answers tell; unknown ones are passed over.

        Raises:
            GalleryError: It cannot be written.
        """
        entry = self._entry(AuditAction.REMOVE, counted(len(keys), "key"), count=len(keys))
        return _removal(gallery, gallery.remove(keys, entry=entry))

    def forget(self, gallery: Gallery, label: str) -> RemovalOutcome:
        """Erase a person, and make sure of it; what a server may still hold is in the outcome.

        The audit log gets a line with a digest of the label.

        Raises:
            GalleryError: Nobody is called so, or something of the person is left.
        """
        keys = [image.key for image in gallery.images(labels=[label])]
        _require_all([label], {label} if keys else (), what="label", place=gallery.place)
        entry = self._entry(AuditAction.FORGET, digest_of_label(label), count=len(keys))
        num_erased = gallery.erase(keys, entry=entry)
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
        now = self._now()
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
        """Give back the room of removed images and rebuild the index."""
        gallery.compact()
        content = gallery.describe()
        gallery.note(self._entry(AuditAction.COMPACT, "everything", count=content.num_images))
        return content

    def list(self, gallery: Gallery) -> GalleryContent:
        """Say what is there."""
        sizes: Counter[str] = Counter()
        cameras: dict[str, set[str]] = {}
        num_expiring = 0
        for image in each_image(gallery):
            sizes[image.label] += 1
            num_expiring += image.expires_at is not None
            if image.camera is not None:
                cameras.setdefault(image.label, set()).add(image.camera)
        return GalleryContent(
            place=gallery.place,
            content=gallery.describe(),
            num_expiring=num_expiring,
            labels=tuple(
                LabelContent(
                    label=label,
                    num_images=sizes[label],
                    cameras=tuple(sorted(cameras.get(label, ()))),
                )
                for label in sorted(sizes)
            ),
            audit=gallery.audit(),
        )

    def _entry(self, action: AuditAction, subject: str, count: int) -> AuditEntry:
        return AuditEntry(at=self._now(), action=action, subject=subject, num_images=count)


def digest_of_label(label: str) -> str:
    """Name a forgotten person in the audit log: who knows the label can find the line again."""
    return f"sha256:{sha256(label.encode()).hexdigest()}"


def _is_named(image: KeptImage, names: Sequence[str], labels: Sequence[str]) -> bool:
    return image.label in labels or any(name in names for name in _names(image))


def _ends(name: str) -> list[str]:
    """List what an image may be called under its source, if this is its name or whole path."""
    parts = name.split("/")
    return ["/".join(parts[start:]) for start in range(len(parts))]


def _names(image: KeptImage) -> tuple[str, str]:
    """Name an image as its source does, and by its whole path."""
    return image.name, f"{image.source}/{image.name}"


def _require_all(
    wanted: Sequence[str], found: "set[str] | tuple[str, ...]", *, what: str, place: str
) -> None:
    missing = [name for name in wanted if name not in found]
    if missing:
        raise GalleryError(
            f"{place} has no {what} {missing[0]!r}, so nothing was changed; {_WHO_TELLS[what]}"
        )


def _removal(gallery: Gallery, count: int) -> RemovalOutcome:
    return RemovalOutcome(
        place=gallery.place, num_images=count, num_left=gallery.describe().num_images
    )
