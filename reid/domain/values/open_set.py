"""How the images of a person become one similarity, and how unknown people are rejected.

A query is known if its person is in the gallery, else an unknown person. Rates are shares in 0..1.
Imports no torch.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Fusion(StrEnum):
    """How a query's similarities to the images of one person become one."""

    BEST = "best"  # similarity to the most similar image
    MEAN = "mean"  # similarity to the normalised mean of the person's vectors
    VOTE = "vote"  # the nearest images vote for their person; the similarity is the person's best


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionRecipe:
    """A fusion with its constants."""

    fusion: Fusion = Fusion.BEST
    votes: int = 5  # nearest images that vote
    temperature: float = 0.07
    """A vote weighs exp(similarity / temperature) (Wu et al. 2018, arXiv:1805.01978)."""

    def __post_init__(self) -> None:
        """Refuse constants without a meaning."""
        if self.votes < 1:
            raise ValueError(f"votes must be at least 1, got {self.votes}")
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ValueError(f"temperature must be above 0, got {self.temperature}")

    def words(self, *, are_tracklets: bool) -> str:
        """Name it; a calibration holds for the fusion of its name only."""
        name = str(self.fusion)
        if self.fusion is Fusion.VOTE:
            name = f"{name} of {self.votes} at {self.temperature:g}"
        return f"{name}, tracklets" if are_tracklets else name


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingPoint:
    """A threshold chosen for a false-accept rate, and the rates it reaches."""

    false_accept_rate: float  # as requested: at most this share of unknown people is accepted
    threshold: float  # answers of a lower similarity are rejected
    measured_false_accept_rate: float
    """FPIR of ISO/IEC 19795-1: share of unknown people for whom somebody is named."""
    identification_rate: float | None
    """TPIR at rank 1 (DIR): share of known queries that are named, and rightly.

    None where the requested rate is below 1 / U, the smallest that U unknown people can resolve.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenSetReport:
    """How well known people are named and unknown people rejected."""

    num_known: int
    num_unknown: int
    rank_1: float  # share of known queries answered correctly if every answer counts
    points: tuple[OperatingPoint, ...]  # by ascending false-accept rate
    curve: tuple[tuple[float, float], ...]
    """(false-accept rate, identification rate), both ascending, thinned for plots."""

    @property
    def resolution(self) -> float:
        """Smallest false-accept rate above 0 that the unknown people can resolve."""
        return 1 / self.num_unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Turns similarities into decisions, as found on labelled images by one encoder."""

    threshold: float  # matches of a lower cosine are rejected as unknown people
    false_accept_rate: float  # share of unknown people that the threshold may accept, as requested
    measured_false_accept_rate: float
    identification_rate: float  # share of known people who are named, and rightly
    slope: float
    intercept: float
    """Confidence that the answer is right: 1 / (1 + exp(-(slope * cosine + intercept)))."""
    num_known: int  # queries on which it was found
    num_unknown: int
    fusion: str = "best"  # see `FusionRecipe.words`


def with_calibrations(
    kept: Sequence[Calibration], new: Sequence[Calibration]
) -> tuple[Calibration, ...]:
    """Replace calibrations by new ones of the same fusion; ascending by fusion."""
    by_fusion = {calibration.fusion: calibration for calibration in (*kept, *new)}
    return tuple(by_fusion[fusion] for fusion in sorted(by_fusion))
