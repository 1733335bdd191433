"""How queries are answered: by which images, and what a similarity means."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import torch

from reid.domain.errors import ConfigurationError, GalleryError
from reid.domain.ranking.open_set import confidence_of
from reid.domain.values.galleries import EVERYTHING, GalleryFilter
from reid.domain.values.open_set import Calibration, Fusion, FusionRecipe
from reid.domain.values.recipes import RerankingRecipe

Unknown: TypeAlias = float | Literal["auto", "off"]
"""Rejects matches below a cosine, below the gallery's calibrated threshold, or none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Turns a similarity into an answer."""

    threshold: float | None = None  # lower cosines are rejected; None accepts every match
    calibration: Calibration | None = None  # gives the confidence; None gives none

    def confidence(self, similarity: float) -> float | None:
        """Compute the probability that an answer is right."""
        if self.calibration is None:
            return None
        cosine = torch.tensor(similarity, dtype=torch.float64)
        slope, intercept = self.calibration.slope, self.calibration.intercept
        return float(confidence_of(cosine, slope=slope, intercept=intercept))

    def is_unknown(self, similarity: float) -> bool | None:
        """Whether a match is rejected; None where no threshold decides it."""
        return None if self.threshold is None else similarity < self.threshold


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentificationOptions:
    """How queries are answered by a gallery."""

    top_k: int = 5  # gallery images shown with each answer
    recipe: FusionRecipe = field(default_factory=FusionRecipe)  # fuses a person's images
    are_tracklets: bool = False  # whether the images of a person are one query
    unknown: Unknown = "auto"
    reranking: RerankingRecipe | None = None
    """Order images by k-reciprocal re-ranking among all queries and the whole gallery; similarities
    stay cosines. None does not re-rank."""
    within: GalleryFilter = EVERYTHING  # which gallery images are searched

    def __post_init__(self) -> None:
        """Refuse to re-rank means before images are embedded."""
        if self.reranking is not None and self.recipe.fusion is Fusion.MEAN:
            raise ConfigurationError(
                "identify.fusion: the mean of a person's images has no re-ranked distance; "
                "re-rank with best or vote, or turn identify.rerank off"
            )

    @property
    def fusion(self) -> str:
        """Name of the fusion in calibrations."""
        return self.recipe.words(are_tracklets=self.are_tracklets)

    def decide(self, calibrations: Sequence[Calibration], *, place: str) -> Decision:
        """Choose threshold and confidence from the calibrations of a gallery at `place`.

        Re-ranking never answers with a person more similar than the most similar one, so the
        threshold still holds; how often such answers are right was not measured, so they have no
        confidence.

        Raises:
            GalleryError: The gallery's threshold is requested, but was found for another fusion.
        """
        fitting = next((found for found in calibrations if found.fusion == self.fusion), None)
        if self.unknown == "auto" and calibrations and fitting is None:
            known = " and ".join(repr(found.fusion) for found in calibrations)
            raise GalleryError(
                f"{place} is calibrated for the fusion {known}, not for {self.fusion!r}: use the "
                "fusion it is calibrated for, calibrate it for this one too, or set "
                "identify.unknown to off or to a similarity"
            )
        threshold = None
        if self.unknown == "auto":
            threshold = fitting.threshold if fitting is not None else None
        elif self.unknown != "off":
            threshold = float(self.unknown)
        return Decision(
            threshold=threshold, calibration=None if self.reranking is not None else fitting
        )
