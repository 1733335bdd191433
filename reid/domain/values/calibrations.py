"""How similarities become decisions."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Turns similarities into decisions, as found on labelled images by one encoder."""

    threshold: float
    """Matches of a lower cosine are rejected as unknown people."""

    false_accept_rate: float
    """Share of unknown people that the threshold may accept, as requested."""

    measured_false_accept_rate: float
    """Share of unknown people that the threshold accepts, as measured."""

    identification_rate: float
    """Share of known people who are named, and rightly, at the threshold."""

    slope: float
    intercept: float
    """Confidence that the answer is right: 1 / (1 + exp(-(slope * cosine + intercept)))."""

    num_known: int
    num_unknown: int
    """Queries on which it was found."""

    fusion: str = "best"
    """How the images of a person were fused into one similarity."""


def with_calibrations(
    kept: Sequence[Calibration], new: Sequence[Calibration]
) -> tuple[Calibration, ...]:
    """Replace calibrations by new ones of the same fusion; ascending by fusion."""
    by_fusion = {calibration.fusion: calibration for calibration in (*kept, *new)}
    return tuple(by_fusion[fusion] for fusion in sorted(by_fusion))
