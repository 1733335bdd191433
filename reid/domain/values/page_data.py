"""What pages about answers and evaluations say: numbers, words, small images; no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from reid.domain.values.analyses import EvaluationAnalysis
from reid.domain.values.reports import EvaluationReport, Identification, RankedImage

ImageId: TypeAlias = int | str


class Verdict(StrEnum):
    """What can be said of an answer."""

    RIGHT = "right"
    WRONG = "wrong"
    """Somebody else is named, also for a person of whom the gallery has no image."""

    UNKNOWN = "unknown"
    """Nobody is named."""

    UNJUDGED = "unjudged"
    """Somebody is named, but who it is in truth is not known."""

    @classmethod
    def of(cls, answer: Identification) -> "Verdict":
        """Judge an answer by the query's own label."""
        if answer.is_unknown:
            return cls.UNKNOWN
        if answer.true_label is None:
            return cls.UNJUDGED
        return cls.RIGHT if answer.label == answer.true_label else cls.WRONG


@dataclass(frozen=True, slots=True, kw_only=True)
class PageLimits:
    """How much a page holds at most, so that it opens at once and can be sent."""

    num_queries: int = 2000
    num_images: int = 10
    """Gallery images of each answer."""

    thumbnail_height: int = 128
    thumbnail_bytes: int = 16 * 2**20
    """Sum over all small images: 6,700 of usual size; base64 makes them a third larger."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswersPageData:
    """Answers with small images of what they are about."""

    title: str
    notes: tuple[str, ...]
    """How the answers came about, a sentence each."""

    answers: tuple[Identification, ...]
    query_thumbnails: Mapping[str, bytes]
    """JPEGs by the queries' image names; an image may be missing."""

    gallery_thumbnails: Mapping[ImageId, bytes]
    """JPEGs by `id_of` the gallery's images; an image may be missing."""

    num_queries: int
    """All that were answered; those beyond `answers` are left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationPageData:
    """An evaluation, what lies behind its averages, and small images of its hardest queries."""

    title: str
    notes: tuple[str, ...]
    """What was evaluated and how, a sentence each."""

    report: EvaluationReport
    analysis: EvaluationAnalysis
    query_thumbnails: Mapping[str, bytes]
    gallery_thumbnails: Mapping[str, bytes]
    """JPEGs by image name; an image may be missing."""


def id_of(image: RankedImage) -> ImageId:
    """Identify a gallery image by its key, or by its name where it has none."""
    return image.name if image.key is None else image.key
