"""What a gallery keeps of its images and of their encoder, beside their vectors.

Times are UTC in ISO 8601 with seconds, such as `2026-11-24T08:00:00Z`; they sort as text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TypedDict

from reid.domain.errors import GalleryError
from reid.domain.values.json_values import JsonValue
from reid.domain.values.open_set import Calibration
from reid.domain.values.samples import UnreadableImage


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderFingerprint:
    """Identifies the encoder that made vectors; those of two encoders do not compare."""

    name: str
    weights: str  # kind and origin, as in `EncoderDescription`
    digest: str  # digest of what the encoder computes with: equal digests make equal vectors
    width: int
    uses_cameras: bool = False
    options: Mapping[str, JsonValue] = field(default_factory=dict)

    def agrees_with(self, other: "EncoderFingerprint") -> bool:
        """Whether vectors of the two compare; what the weights are called does not matter."""
        return replace(self, name="", weights="") == replace(other, name="", weights="")

    def __str__(self) -> str:
        """Name it for messages."""
        cameras = ", using cameras" if self.uses_cameras else ""
        return f"{self.name} ({self.weights}, {self.digest[:12]}{cameras})"


def require_same_encoder(
    fingerprint: EncoderFingerprint, *, kept: EncoderFingerprint | None, place: str, what: str
) -> None:
    """Refuse vectors that do not compare with those kept.

    Raises:
        GalleryError: Another encoder made what is kept.
    """
    if kept is None or kept.agrees_with(fingerprint):
        return
    raise GalleryError(
        f"{place} was made by {kept}, {what} by {fingerprint}: use that encoder, or build another "
        "gallery by this one"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class NewImage:
    """An image about to be kept."""

    name: str  # under its source
    source: str  # where the image was found: a folder, or its sender
    content: str  # digest of the image's file: equal content is not embedded again
    label: str
    camera: str | None = None
    expires_at: str | None = None  # when `check` removes it; None: never
    thumbnail: bytes | None = None  # a small JPEG, kept only where asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptImage:
    """An image that a gallery keeps."""

    key: int  # never assigned twice by one gallery
    name: str
    source: str
    content: str
    label: str
    camera: str | None
    added_at: str
    expires_at: str | None

    @classmethod
    def of(cls, image: NewImage, *, key: int, added_at: str) -> "KeptImage":
        """Record a new image."""
        return cls(
            key=key,
            name=image.name,
            source=image.source,
            content=image.content,
            label=image.label,
            camera=image.camera,
            added_at=added_at,
            expires_at=image.expires_at,
        )

    def says_the_same_as(self, image: NewImage) -> bool:
        """Whether the record of a new image of this source and name would be the same."""
        return (self.content, self.label, self.camera, self.expires_at) == (
            image.content,
            image.label,
            image.camera,
            image.expires_at,
        )


class ImageLookup(TypedDict, total=False):
    """Conditions on the images to list; one that is left out or None admits every image."""

    keys: Sequence[int] | None
    labels: Sequence[str] | None
    source: str | None
    names: Sequence[str] | None
    contents: Sequence[str] | None
    expired_at: str | None  # images whose expiry time is no later than this


def is_keepable(text: str) -> bool:
    """Whether a gallery can keep a text.

    Databases end a text at the character NUL and would take it for another: SQLite, given `a`, NUL,
    `b` in a list, looks for `a`.
    """
    return "\0" not in text


def admitted_values(wanted: ImageLookup) -> dict[str, Sequence[int] | Sequence[str]]:
    """List the values that each column may have; `expired_at` is no list of values.

    Texts that no gallery keeps are left out.
    """
    source, keys = wanted.get("source"), wanted.get("keys")
    texts = {
        "label": wanted.get("labels"),
        "name": wanted.get("names"),
        "content": wanted.get("contents"),
        "source": None if source is None else [source],
    }
    among: dict[str, Sequence[int] | Sequence[str]] = {} if keys is None else {"key": keys}
    for name, values in texts.items():
        if values is not None:
            among[name] = [value for value in values if is_keepable(value)]
    return among


@dataclass(frozen=True, slots=True, kw_only=True)
class GalleryFilter:
    """Selects the images of a search; a condition that is None admits every image."""

    cameras: frozenset[str] | None = None
    without_cameras: frozenset[str] = frozenset()  # images without a camera stay in
    labels: frozenset[str] | None = None
    added_from: str | None = None  # inclusive
    added_until: str | None = None  # exclusive

    def admits(self, image: KeptImage) -> bool:
        """Whether a search looks at an image."""
        return (
            (self.cameras is None or image.camera in self.cameras)
            and image.camera not in self.without_cameras
            and (self.labels is None or image.label in self.labels)
            and (self.added_from is None or image.added_at >= self.added_from)
            and (self.added_until is None or image.added_at < self.added_until)
        )

    def narrowed(self, by: "GalleryFilter") -> "GalleryFilter":
        """Admit what both filters admit."""
        # Times are texts that sort as they do, and any text comes after the empty one.
        added_from = max(self.added_from or "", by.added_from or "")
        ends = [end for end in (self.added_until, by.added_until) if end is not None]
        return GalleryFilter(
            cameras=_in_both(self.cameras, by.cameras),
            without_cameras=self.without_cameras | by.without_cameras,
            labels=_in_both(self.labels, by.labels),
            added_from=added_from or None,
            added_until=min(ends, default=None),
        )

    def words(self) -> str:
        """Describe which images are searched; empty where all are."""
        parts = []
        if self.cameras is not None:
            # Two filters without a common camera admit no image.
            parts.append(f"by camera {_listed(self.cameras)}" if self.cameras else "by no camera")
        if self.without_cameras:
            parts.append(f"not by camera {_listed(self.without_cameras)}")
        if self.labels is not None:
            parts.append(f"of {_listed(self.labels)}" if self.labels else "of nobody")
        if self.added_from is not None:
            parts.append(f"added from {self.added_from}")
        if self.added_until is not None:
            parts.append(f"added before {self.added_until}")
        return ", ".join(parts)


def _listed(names: frozenset[str]) -> str:
    return " ".join(name or "''" for name in sorted(names))


def _in_both(one: frozenset[str] | None, other: frozenset[str] | None) -> frozenset[str] | None:
    """Intersect two sets; None stands for the set of everything."""
    if one is None or other is None:
        return other if one is None else one
    return one & other


EVERYTHING = GalleryFilter()  # admits every image


class AuditAction(StrEnum):
    """What was done to a gallery."""

    BUILD = "build"
    ADD = "add"
    REMOVE = "remove"
    FORGET = "forget"
    EXPIRE = "expire"
    CALIBRATE = "calibrate"
    COMPACT = "compact"
    EXPORT = "export"
    IMPORT = "import"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """A line of the audit log."""

    at: str
    action: AuditAction
    subject: str  # what was changed; for a forgotten person only a digest of the label
    num_images: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GalleryDescription:
    """What is in a gallery."""

    fingerprint: EncoderFingerprint | None  # None until the first images are added
    num_images: int
    calibrations: tuple[Calibration, ...] = ()  # at most one for each fusion
    version: int = 0  # grows with every change of images


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordsState:
    """State of a gallery's records as a whole, by default that of an empty one."""

    description: GalleryDescription = GalleryDescription(fingerprint=None, num_images=0)
    last_key: int = 0  # the highest key ever assigned
    num_removed: int = 0  # removed images whose vectors may still exist
    is_erasing: bool = False  # whether an erasure is pending: traces of removed images must go
    vectors: str = ""  # where the vectors are, as their adapter writes it; empty at first


def require_images(content: GalleryDescription, *, place: str) -> None:
    """Refuse an empty gallery before queries are embedded, which takes long.

    Raises:
        GalleryError: The gallery is empty.
    """
    if content.num_images == 0:
        raise GalleryError(f"{place} is empty: add images first")


@dataclass(frozen=True, slots=True, kw_only=True)
class GalleryChanges:
    """What enrolling a list of images changed in a gallery."""

    num_listed: int
    num_embedded: int  # images that went through the encoder
    num_updated: int
    """Images of known content with another name, label, camera or expiry, or a new thumbnail."""
    num_unchanged: int
    num_removed: int  # images that are no longer in the list
    unreadable: tuple[UnreadableImage, ...] = ()  # images that were left out


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedGallery:
    """A gallery that was made of a plain folder or list, and is kept for the next query."""

    place: str
    sources: tuple[str, ...]
    """Where the images were found; empty if the gallery is empty or cannot be read."""
    num_images: int | None  # None where the gallery cannot be read
    num_bytes: int
    changed_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheContent:
    """The galleries of a cache."""

    place: str
    galleries: tuple[CachedGallery, ...]

    @property
    def num_bytes(self) -> int:
        """Size of all galleries together."""
        return sum(gallery.num_bytes for gallery in self.galleries)
