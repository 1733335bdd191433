"""Content of the pages about answers and evaluations; imports no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from reid.domain.values.analyses import EvaluationAnalysis
from reid.domain.values.reports import EvaluationReport, Identification, RankedImage

ImageId: TypeAlias = int | str


class Verdict(StrEnum):
    """Judgement of an answer by the query's own label."""

    RIGHT = "right"
    WRONG = "wrong"  # somebody else is named, also for a person of whom the gallery has no image
    UNKNOWN = "unknown"  # nobody is named
    UNJUDGED = "unjudged"  # somebody is named, but the query has no label

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
    """Limits of a page's content, so that it opens at once and can be sent."""

    num_queries: int = 2000
    num_images: int = 10  # gallery images of each answer
    thumbnail_height: int = 128
    thumbnail_bytes: int = 16 * 2**20
    """Sum over all thumbnails: 6,700 of usual size; base64 makes them a third larger."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswersPageData:
    """Answers with thumbnails of their images."""

    title: str
    notes: tuple[str, ...]  # how the answers came about, a sentence each
    answers: tuple[Identification, ...]
    query_thumbnails: Mapping[str, bytes]
    """JPEGs by the queries' image names; an image may be missing."""
    gallery_thumbnails: Mapping[ImageId, bytes]
    """JPEGs by `id_of` the gallery's images; an image may be missing."""
    num_queries: int  # all that were answered, also those that `answers` leaves out


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationPageData:
    """An evaluation, its analysis, and thumbnails of its hardest queries."""

    title: str
    notes: tuple[str, ...]  # what was evaluated and how, a sentence each
    report: EvaluationReport
    analysis: EvaluationAnalysis
    query_thumbnails: Mapping[str, bytes]
    gallery_thumbnails: Mapping[str, bytes]  # JPEGs by image name; an image may be missing


def id_of(image: RankedImage) -> ImageId:
    """Identify a gallery image by its key, or by its name where it has none."""
    return image.name if image.key is None else image.key
