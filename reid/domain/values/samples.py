"""Images of people and the lists they stand in.

pid: identity as the dataset numbers it. camid: zero-based camera. label: 0..C-1, training only.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import NamedTuple

from reid.domain.values.counts import counted

JUNK_PID = -1  # Market-1501's mark for a bad detection: such images are dropped everywhere
DISTRACTOR_PID = 0
"""Market-1501's mark for an image of nobody in the query list: kept in the gallery."""


class Split(StrEnum):
    """The three lists of a re-identification dataset."""

    TRAIN = "train"
    QUERY = "query"
    GALLERY = "gallery"


@dataclass(frozen=True, slots=True)
class ImageSize:
    """Height and width in pixels."""

    height: int
    width: int

    def __post_init__(self) -> None:
        """Refuse sizes that hold no image."""
        if self.height < 1 or self.width < 1:
            raise ValueError(f"image size must be positive, got {self.height}x{self.width}")

    def __str__(self) -> str:
        """Show as the field writes it: height x width."""
        return f"{self.height}x{self.width}"


class Resampling(StrEnum):
    """Filter with which an image is resized."""

    BILINEAR = "bilinear"
    BICUBIC = "bicubic"


@dataclass(frozen=True, slots=True)
class Sample:
    """One image of one person seen by one camera; its dataset reads it by its name."""

    name: str
    pid: int
    camid: int


class Annotation(NamedTuple):
    """Person and zero-based camera of an image."""

    pid: int
    camid: int


@dataclass(frozen=True, slots=True)
class SampleList:
    """Images found for a split."""

    samples: tuple[Sample, ...]  # sorted by name, each name once, without junk
    unparsed: tuple[str, ...] = ()
    """Images left out because their names give no person or camera, sorted."""
    place: str = "the dataset"  # what lists the split, for messages
    expected: str = ""  # which images the split consists of, for messages

    @classmethod
    def sorted_out(
        cls, found: Iterable[tuple[str, Annotation | None]], *, place: str, expected: str
    ) -> "SampleList":
        """Sort by name, keep each name once, drop junk, set images without annotation apart."""
        images = sorted(dict(found).items())
        return cls(
            tuple(Sample(name, *known) for name, known in images if known and known[0] != JUNK_PID),
            tuple(name for name, known in images if known is None),
            place=place,
            expected=expected,
        )

    def why_empty(self, split: Split) -> str:
        """Explain to the user that no sample was found."""
        expected = f" {self.expected}" if self.expected else ""
        count = len(self.unparsed)
        odd = f" ({counted(count, 'image')} named otherwise)" if count else ""
        return f"{self.place} holds no image{expected}{odd}; put the {split} images there"


@dataclass(frozen=True, slots=True)
class ListedImage:
    """One image whose person and camera may be unknown, as `identify` meets them."""

    name: str
    label: str | None = None
    camera: str | None = None


@dataclass(frozen=True, slots=True)
class UnreadableImage:
    """An image that cannot be decoded, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class SplitStatistics:
    """How much a split holds."""

    split: Split
    num_identities: int
    num_images: int
    num_cameras: int

    @classmethod
    def of(cls, split: Split, samples: Iterable[Sample]) -> "SplitStatistics":
        """Count identities (distractors count as one), images and cameras."""
        listed = tuple(samples)
        return cls(
            split=split,
            num_identities=len({sample.pid for sample in listed}),
            num_images=len(listed),
            num_cameras=len({sample.camid for sample in listed}),
        )


def digest_of_samples(samples: Iterable[Sample]) -> str:
    """Hash a list by names, identities, cameras and order, not by pixels."""
    lines = (f"{sample.name}\t{sample.pid}\t{sample.camid}\n" for sample in samples)
    return sha256("".join(lines).encode()).hexdigest()


def labels_by_pid(samples: Iterable[Sample]) -> dict[int, int]:
    """Number the identities 0..C-1 by ascending pid.

    Differs from CLIP-ReID, which enumerates a Python set: the order there is not ascending for
    sparse pids.
    """
    return {pid: label for label, pid in enumerate(sorted({sample.pid for sample in samples}))}
