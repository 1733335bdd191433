"""What a similarity means: nobody whom the gallery knows, or somebody, and how surely."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch

from reid.domain.errors import GalleryError
from reid.domain.open_set import confidence_of
from reid.domain.values.galleries import Calibration

Unknown: TypeAlias = float | Literal["auto", "off"]
"""Who is a stranger: below a cosine, below the gallery's calibrated one, or nobody."""


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
    calibration: Calibration | None,
    *,
    unknown: Unknown,
    fusion: str,
    place: str,
    is_reranked: bool = False,
) -> Decision:
    """Choose threshold and confidence.

    Re-ranking answers by a person who is at most as similar as the most similar one, so that the
    threshold lets no more strangers pass; how often answers are right is another matter, so there
    is no confidence then.

    Args:
        calibration: The gallery's, if there is one.
        unknown: As asked for.
        fusion: In words; see `FusionRecipe.words`.
        place: What to call the gallery in messages.
        is_reranked: Whether answers are re-ranked.

    Raises:
        GalleryError: The gallery's own threshold is asked for, but is one of another fusion.
    """
    fits = calibration is not None and calibration.fusion == fusion
    if unknown == "auto" and calibration is not None and not fits:
        raise GalleryError(
            f"{place} is calibrated for the fusion {calibration.fusion!r}, not for {fusion!r}: "
            "ask by that one, calibrate again by this one (reid calibrate), or say who is unknown "
            "by --unknown off or --unknown SIMILARITY"
        )
    own = calibration.threshold if calibration is not None else None
    threshold = own if unknown == "auto" else None if unknown == "off" else float(unknown)
    return Decision(
        threshold=threshold, calibration=calibration if fits and not is_reranked else None
    )
