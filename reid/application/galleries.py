"""Keep a gallery: fill it, take pictures out, forget people, look after it."""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from hashlib import sha256

from reid.domain.errors import GalleryError
from reid.domain.services.gallery import Gallery
from reid.domain.services.gallery_filling import GalleryFilling
from reid.domain.services.gallery_pages import each_picture
from reid.domain.values.counts import counted
from reid.domain.values.durations import parse_duration, time_after
from reid.domain.values.galleries import (
    AuditAction,
    AuditEntry,
    GalleryChanges,
    GalleryDescription,
    KeptPicture,
)
from reid.ports.dataset import PictureSource

_WHO_TELLS = {
    "label": "reid gallery list tells the labels",
    "picture": "give its name as reid identify tells it, or its whole path",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FillingOutcome:
    """What a gallery holds after pictures were added, and what that took."""

    place: str
    content: GalleryDescription
    num_labels: int
    """Of the pictures listed."""

    is_new: bool
    """Whether nothing had been added before."""

    changes: GalleryChanges


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovalOutcome:
    """Pictures taken out."""

    place: str
    num_pictures: int
    num_left: int
    beyond_erasing: str | None = None
    """Where bytes of erased pictures may still lie, and what clears them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOutcome:
    """What was found in a gallery, and what had expired."""

    place: str
    num_pictures: int
    num_expired: int
    """Pictures that were erased because their time had come."""

    faults: tuple[str, ...]
    beyond_erasing: str | None = None
    """As of a removal, where anything was erased."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelContent:
    """What a gallery holds of a person."""

    label: str
    num_pictures: int
    cameras: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GalleryContent:
    """What a gallery holds, and what was done to it."""

    place: str
    content: GalleryDescription
    num_expiring: int
    """Pictures that are not kept for ever."""

    labels: tuple[LabelContent, ...]
    audit: tuple[AuditEntry, ...]


class FillGallery:
    """Adds pictures to a gallery."""

    def __init__(
        self, *, filling: GalleryFilling, now: Callable[[], str], expire_after: str | None
    ) -> None:
        """Keep the parts.

        Args:
            filling: Embeds what a gallery lacks.
            now: Tells the time, as galleries write it.
            expire_after: How long pictures are kept, such as `30d`; None: for ever.
        """
        self._filling = filling
        self._now = now
        self._expire_after = None if expire_after is None else parse_duration(expire_after)

    def run(
        self, source: PictureSource, *, open_gallery: Callable[[], Gallery], mirrors: bool
    ) -> FillingOutcome:
        """Bring a gallery up to date with a list of pictures.

        Args:
            source: Lists them.
            open_gallery: Called once the pictures are listed; the gallery is closed at the end.
            mirrors: Also remove what the source does not list any more.

        Raises:
            DatasetError: No readable picture, or one without a label.
            GalleryError: Another encoder made the gallery, or it cannot be written.
        """
        num_labels = len({picture.label for picture in source.pictures()})
        expires_at = None
        if self._expire_after is not None:
            expires_at = time_after(self._now(), self._expire_after)
        with closing(open_gallery()) as gallery:
            is_new = gallery.describe().version == 0
            changes = self._filling.fill(gallery, source, mirrors=mirrors, expires_at=expires_at)
            return FillingOutcome(
                place=gallery.place,
                content=gallery.describe(),
                num_labels=num_labels,
                is_new=is_new,
                changes=changes,
            )


class KeepGallery:
    """Takes pictures out of a gallery, and looks after it."""

    def __init__(self, *, now: Callable[[], str]) -> None:
        """Keep the clock, which tells the time as galleries write it."""
        self._now = now

    def remove(
        self, gallery: Gallery, *, images: Sequence[str] = (), labels: Sequence[str] = ()
    ) -> RemovalOutcome:
        """Take pictures out by their names, or by their labels; all or none.

        Raises:
            GalleryError: A name or a label is not there.
        """
        perhaps = {
            *gallery.pictures(labels=labels),
            *gallery.pictures(images=sorted({end for name in images for end in _ends(name)})),
        }
        kept = sorted(perhaps, key=lambda picture: picture.key)
        found = [picture for picture in kept if _is_named(picture, images, labels)]
        named = {name for picture in found for name in _names(picture)}
        _require_all(images, named, what="picture", place=gallery.place)
        people = {picture.label for picture in found}
        _require_all(labels, people, what="label", place=gallery.place)
        subject = f"{counted(len(images), 'name')}, {counted(len(labels), 'label')}"
        entry = self._entry(AuditAction.REMOVE, subject, count=len(found))
        num_removed = gallery.remove([picture.key for picture in found], entry=entry)
        return _removal(gallery, num_removed)

    def remove_keys(self, gallery: Gallery, keys: Sequence[int]) -> RemovalOutcome:
        """Take pictures out by their keys, which answers tell; unknown ones are passed over.

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
        keys = [picture.key for picture in gallery.pictures(labels=[label])]
        _require_all([label], {label} if keys else (), what="label", place=gallery.place)
        entry = self._entry(AuditAction.FORGET, digest_of_label(label), count=len(keys))
        num_erased = gallery.erase(keys, entry=entry)
        left = len(gallery.pictures(labels=[label])) + len(gallery.pictures(keys=keys))
        faults = gallery.check()
        if left or faults:
            raise GalleryError(
                f"{gallery.place} erased {counted(num_erased, 'picture')}, but "
                + "; ".join([f"{counted(left, 'picture')} of the label came since", *faults])
                + ": run it again, then check the gallery"
            )
        return replace(_removal(gallery, num_erased), beyond_erasing=gallery.beyond_erasing)

    def check(self, gallery: Gallery) -> CheckOutcome:
        """Erase what has expired, then look for damage."""
        now = self._now()
        expired = [picture.key for picture in gallery.pictures(expired_at=now)]
        if expired:
            subject = f"pictures that were to be kept until {now}"
            gallery.erase(expired, entry=self._entry(AuditAction.EXPIRE, subject, len(expired)))
        return CheckOutcome(
            place=gallery.place,
            num_pictures=gallery.describe().num_pictures,
            num_expired=len(expired),
            faults=gallery.check(),
            beyond_erasing=gallery.beyond_erasing if expired else None,
        )

    def compact(self, gallery: Gallery) -> GalleryDescription:
        """Give back the room of removed pictures and rebuild the index."""
        gallery.compact()
        content = gallery.describe()
        gallery.note(self._entry(AuditAction.COMPACT, "everything", count=content.num_pictures))
        return content

    def list(self, gallery: Gallery) -> GalleryContent:
        """Say what is there."""
        sizes: Counter[str] = Counter()
        cameras: dict[str, set[str]] = {}
        num_expiring = 0
        for picture in each_picture(gallery):
            sizes[picture.label] += 1
            num_expiring += picture.expires_at is not None
            if picture.camera is not None:
                cameras.setdefault(picture.label, set()).add(picture.camera)
        return GalleryContent(
            place=gallery.place,
            content=gallery.describe(),
            num_expiring=num_expiring,
            labels=tuple(
                LabelContent(
                    label=label,
                    num_pictures=sizes[label],
                    cameras=tuple(sorted(cameras.get(label, ()))),
                )
                for label in sorted(sizes)
            ),
            audit=gallery.audit(),
        )

    def _entry(self, action: AuditAction, subject: str, count: int) -> AuditEntry:
        return AuditEntry(at=self._now(), action=action, subject=subject, num_pictures=count)


def digest_of_label(label: str) -> str:
    """Name a forgotten person in the audit log: who knows the label can find the line again."""
    return f"sha256:{sha256(label.encode()).hexdigest()}"


def _is_named(picture: KeptPicture, images: Sequence[str], labels: Sequence[str]) -> bool:
    return picture.label in labels or any(name in images for name in _names(picture))


def _ends(name: str) -> list[str]:
    """List what a picture may be called under its source, if this is its name or whole path."""
    parts = name.split("/")
    return ["/".join(parts[start:]) for start in range(len(parts))]


def _names(picture: KeptPicture) -> tuple[str, str]:
    """Name a picture as its source does, and by its whole path."""
    return picture.image, f"{picture.source}/{picture.image}"


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
        place=gallery.place, num_pictures=count, num_left=gallery.describe().num_pictures
    )
