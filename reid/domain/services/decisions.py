"""What a similarity means: an unknown person or a match, and with what confidence."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch

from reid.domain.errors import GalleryError
from reid.domain.ranking.open_set import confidence_of
from reid.domain.values.galleries import Calibration

Unknown: TypeAlias = float | Literal["auto", "off"]
"""Rejects matches below a cosine, below the gallery's calibrated threshold, or none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Turns a similarity into an answer."""

    threshold: float | None = None
    """Matches of a lower cosine are rejected; None accepts every match."""

    calibration: Calibration | None = None
    """Gives the confidence; None gives none."""

    def confidence(self, similarity: float) -> float | None:
        """Compute the probability that an answer is right."""
        if self.calibration is None:
            return None
        found = confidence_of(
            torch.tensor(similarity, dtype=torch.float64),
            slope=self.calibration.slope,
            intercept=self.calibration.intercept,
        )
        return float(found)

    def is_unknown(self, similarity: float) -> bool:
        """Whether a match is rejected."""
        return self.threshold is not None and similarity < self.threshold


def decide(
    calibrations: Sequence[Calibration],
    *,
    unknown: Unknown,
    fusion: str,
    place: str,
    is_reranked: bool = False,
) -> Decision:
    """Choose threshold and confidence for a fusion, named as by `FusionRecipe.words`.

    Re-ranking never answers with a person more similar than the most similar one, so the threshold
    still holds; how often such answers are right was not measured, so they have no confidence.

    Raises:
        GalleryError: The gallery's own threshold is requested, but was found for other fusions.
    """
    fitting = next((found for found in calibrations if found.fusion == fusion), None)
    if unknown == "auto" and calibrations and fitting is None:
        known = " and ".join(repr(found.fusion) for found in calibrations)
        raise GalleryError(
            f"{place} is calibrated for the fusion {known}, not for {fusion!r}: use the fusion it "
            "is calibrated for, calibrate it for this one too, or set identify.unknown to off or "
            "to a similarity"
        )
    own = fitting.threshold if fitting is not None else None
    threshold = own if unknown == "auto" else None if unknown == "off" else float(unknown)
    return Decision(threshold=threshold, calibration=None if is_reranked else fitting)
