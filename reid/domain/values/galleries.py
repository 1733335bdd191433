"""What a gallery keeps of its images, beside their vectors.

Times are UTC in ISO 8601 with seconds, such as `2026-11-24T08:00:00Z`: they sort as text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypedDict

from reid.domain.errors import GalleryError
from reid.domain.values.json_values import JsonValue
from reid.domain.values.samples import UnreadableImage


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderFingerprint:
    """Which encoder made vectors; those of two encoders do not compare."""

    name: str
    """Kind as settings name it, for example `vit-b16`."""

    weights: str
    """Where the weights come from in words."""

    digest: str
    """Of what the encoder computes with: equal digests make equal vectors."""

    width: int
    """D."""

    uses_cameras: bool = False
    """Whether it was told which camera took an image."""

    options: Mapping[str, JsonValue] = field(default_factory=dict)
    """What decides its architecture."""

    def agrees_with(self, other: "EncoderFingerprint") -> bool:
        """Whether vectors of the two compare; the words for the weights do not matter."""
        return (self.digest, self.width, self.uses_cameras, dict(self.options)) == (
            other.digest,
            other.width,
            other.uses_cameras,
            dict(other.options),
        )

    def __str__(self) -> str:
        """Name it for messages."""
        cameras = ", told the cameras" if self.uses_cameras else ""
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

    name: str
    """Name under its source."""

    source: str
    """Where the image was found: a folder, or who sent it."""

    content: str
    """Digest of the image's file: equal content is not embedded again."""

    label: str
    camera: str | None = None
    expires_at: str | None = None
    """When `check` removes it; None: never."""

    thumbnail: bytes | None = None
    """A small JPEG, kept only where asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptImage:
    """An image that a gallery keeps."""

    key: int
    """Never given twice by one gallery."""

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
        """Whether a new image of this source and name brings no other facts than are kept."""
        return (self.content, self.label, self.camera, self.expires_at) == (
            image.content,
            image.label,
            image.camera,
            image.expires_at,
        )


class ImageLookup(TypedDict, total=False):
    """Conditions on the images that are listed; what is left out or None admits everything."""

    keys: Sequence[int] | None
    labels: Sequence[str] | None
    source: str | None
    """Where they were found."""

    names: Sequence[str] | None
    """Names under their sources."""

    contents: Sequence[str] | None
    """Digests of their files."""

    expired_at: str | None
    """A time until which they were to be kept at the most."""


def is_keepable(text: str) -> bool:
    """Whether a gallery can keep a text.

    To most of what databases are written in, a text ends at the character NUL, so that one with it
    would be taken for another: SQLite looks for `a` where it is given `a`, NUL, `b` in a list.
    """
    return "\0" not in text


def admitted_values(wanted: ImageLookup) -> dict[str, Sequence[int] | Sequence[str]]:
    """Say which values an image's facts may have, by the names of `KeptImage`.

    When it expires is not among them, for that is no list of values. Texts that no gallery keeps
    are left out.
    """
    source = wanted.get("source")
    keys = wanted.get("keys")
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


def has_expired(image: KeptImage, *, at: str) -> bool:
    """Whether an image was to be kept until some time at the most."""
    return image.expires_at is not None and image.expires_at <= at


@dataclass(frozen=True, slots=True, kw_only=True)
class GalleryFilter:
    """Which images a search looks at; what is None leaves everything in."""

    cameras: frozenset[str] | None = None
    without_cameras: frozenset[str] = frozenset()
    """Images without a camera stay in."""

    labels: frozenset[str] | None = None
    added_from: str | None = None
    """Inclusive."""

    added_until: str | None = None
    """Exclusive."""

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
        """Say which images are looked at; nothing where all are."""
        parts = []
        if self.cameras is not None:
            # Two filters that have none in common leave none.
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
    """Keep what both name; None names all there is."""
    if one is None or other is None:
        return other if one is None else one
    return one & other


EVERYTHING = GalleryFilter()
"""A filter that leaves everything in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """From similarities to decisions, as found on labelled images by one encoder."""

    threshold: float
    """Cosine below which nobody in the gallery is meant."""

    false_accept_rate: float
    """Share of unknown people for whom the threshold names somebody, as asked for."""

    measured_false_accept_rate: float
    """Likewise, as measured."""

    identification_rate: float
    """Share of known people who are named, and rightly, at the threshold."""

    slope: float
    intercept: float
    """Confidence that the answer is right: 1 / (1 + exp(-(slope * cosine + intercept)))."""

    num_known: int
    num_unknown: int
    """Queries by whom it was found."""

    fusion: str = "best"
    """How the images of a person were fused into one similarity."""


def with_calibrations(
    kept: Sequence[Calibration], new: Sequence[Calibration]
) -> tuple[Calibration, ...]:
    """Put new calibrations in the place of those of the same fusion; ascending by fusion."""
    by_fusion = {calibration.fusion: calibration for calibration in (*kept, *new)}
    return tuple(by_fusion[fusion] for fusion in sorted(by_fusion))


class AuditAction(StrEnum):
    """What is written down."""

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
    subject: str
    """What it was about; of a forgotten person only a digest of the label."""

    num_images: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GalleryDescription:
    """What is in a gallery."""

    fingerprint: EncoderFingerprint | None
    """None until the first images are added."""

    num_images: int
    calibrations: tuple[Calibration, ...] = ()
    """At most one for each fusion."""

    version: int = 0
    """Grows with every change of images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordsState:
    """What a gallery's records know of the whole."""

    description: GalleryDescription
    last_key: int
    """The highest ever given; 0 at first."""

    num_removed: int
    """Removed images whose vectors are not known to have gone."""

    is_erasing: bool
    """Whether an erasure is pending: traces of removed images must go."""

    vectors: str
    """How the vectors are found, in their adapter's words; empty at first."""


def require_images(content: GalleryDescription, *, place: str) -> None:
    """Refuse to ask a gallery that has no answer, before queries are embedded, which takes long.

    Raises:
        GalleryError: Nothing is kept.
    """
    if content.num_images == 0:
        raise GalleryError(f"{place} is empty: add images first")


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedGallery:
    """A gallery that was made of a plain folder or list, and waits for the next query."""

    place: str
    sources: tuple[str, ...]
    """Where the images were found; empty if nothing is kept or it cannot be read."""

    num_images: int | None
    """None: it cannot be read."""

    num_bytes: int
    changed_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheContent:
    """The galleries of a cache."""

    place: str
    galleries: tuple[CachedGallery, ...]

    @property
    def num_bytes(self) -> int:
        """Of all galleries."""
        return sum(gallery.num_bytes for gallery in self.galleries)


@dataclass(frozen=True, slots=True, kw_only=True)
class GalleryChanges:
    """What enrolment a gallery from a list of images did."""

    num_listed: int
    num_embedded: int
    """Images that went through the encoder."""

    num_updated: int
    """Images whose content was known: name, label, camera or expiry is another now, or there is
    to be a thumbnail and was none."""

    num_unchanged: int
    num_removed: int
    """Images that are in the list no more."""

    unreadable: tuple[UnreadableImage, ...] = ()
    """Images that were left out."""
