"""What pages about answers and evaluations say: numbers, words, small pictures; no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from reid.domain.values.analyses import EvaluationAnalysis
from reid.domain.values.reports import EvaluationReport, Identification, RankedPicture

PictureId: TypeAlias = int | str


class Verdict(StrEnum):
    """What can be said of an answer."""

    RIGHT = "right"
    WRONG = "wrong"
    """Somebody else is named, also for a person of whom the gallery has no picture."""

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
class SheetLimits:
    """How much a page holds at most, so that it opens at once and can be sent."""

    num_queries: int = 2000
    num_pictures: int = 10
    """Gallery pictures of each answer."""

    thumbnail_height: int = 128
    thumbnail_bytes: int = 16 * 2**20
    """Sum over all small pictures: 6,700 of usual size; base64 makes them a third larger."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerSheet:
    """Answers with small pictures of what they are about."""

    title: str
    notes: tuple[str, ...]
    """How the answers came about, a sentence each."""

    answers: tuple[Identification, ...]
    query_thumbnails: Mapping[str, bytes]
    """JPEGs by the queries' image names; a picture may be missing."""

    gallery_thumbnails: Mapping[PictureId, bytes]
    """JPEGs by `id_of` the gallery's pictures; a picture may be missing."""

    num_queries: int
    """All that were answered; those beyond `answers` are left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSheet:
    """An evaluation, what lies behind its averages, and small pictures of its hardest queries."""

    title: str
    notes: tuple[str, ...]
    """What was evaluated and how, a sentence each."""

    report: EvaluationReport
    analysis: EvaluationAnalysis
    query_thumbnails: Mapping[str, bytes]
    gallery_thumbnails: Mapping[str, bytes]
    """JPEGs by image name; a picture may be missing."""


def id_of(picture: RankedPicture) -> PictureId:
    """Identify a gallery picture by its key, or by its name where it has none."""
    return picture.image if picture.key is None else picture.key
