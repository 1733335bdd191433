"""What a similarity means: nobody whom the gallery knows, or somebody, and how surely."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch

from reid.domain.errors import GalleryError
from reid.domain.ranking.open_set import confidence_of
from reid.domain.values.galleries import Calibration

Unknown: TypeAlias = float | Literal["auto", "off"]
"""Who is an unknown person: below a cosine, below the gallery's calibrated one, or nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """From a similarity to what is said of it."""

    threshold: float | None = None
    """Cosine below which nobody is meant; None: somebody always is."""

    calibration: Calibration | None = None
    """Gives the confidence; None: there is none."""

    def confidence(self, similarity: float) -> float | None:
        """Give the probability that an answer is right."""
        if self.calibration is None:
            return None
        found = confidence_of(
            torch.tensor(similarity, dtype=torch.float64),
            slope=self.calibration.slope,
            intercept=self.calibration.intercept,
        )
        return float(found)

    def is_unknown(self, similarity: float) -> bool:
        """Whether nobody is meant."""
        return self.threshold is not None and similarity < self.threshold


def decide(
    calibrations: Sequence[Calibration],
    *,
    unknown: Unknown,
    fusion: str,
    place: str,
    is_reranked: bool = False,
) -> Decision:
    """Choose threshold and confidence.

    Re-ranking answers by a person who is at most as similar as the most similar one, so that the
    threshold lets no more unknown people pass; how often answers are right is another matter, so
    there is no confidence then.

    Args:
        calibrations: The gallery's, at most one for each fusion.
        unknown: As asked for.
        fusion: In words; see `FusionRecipe.words`.
        place: What to call the gallery in messages.
        is_reranked: Whether answers are re-ranked.

    Raises:
        GalleryError: The gallery's own threshold is asked for, but was found for other fusions.
    """
    fitting = next((found for found in calibrations if found.fusion == fusion), None)
    if unknown == "auto" and calibrations and fitting is None:
        known = " and ".join(repr(found.fusion) for found in calibrations)
        raise GalleryError(
            f"{place} is calibrated for the fusion {known}, not for {fusion!r}: ask by what it is "
            "calibrated for, calibrate by this one, too, or set identify.unknown to off or to a "
            "similarity"
        )
    own = fitting.threshold if fitting is not None else None
    threshold = own if unknown == "auto" else None if unknown == "off" else float(unknown)
    return Decision(threshold=threshold, calibration=None if is_reranked else fitting)
