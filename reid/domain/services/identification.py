"""From query images to answers, by the requested options.

Letters: N query images, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from reid.domain.services.decisions import Decision, Unknown, decide
from reid.domain.services.gallery import Gallery
from reid.domain.services.identifier import Identifier, require_rerankable
from reid.domain.services.queries import single_queries, tracklet_queries, vectors_of_queries
from reid.domain.values.galleries import EVERYTHING, GalleryFilter
from reid.domain.values.open_set import FusionRecipe
from reid.domain.values.recipes import RerankingRecipe
from reid.domain.values.reports import Identification
from reid.domain.values.samples import ListedImage


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentificationOptions:
    """How queries are answered by a gallery."""

    top_k: int = 5
    """Gallery images shown with each answer."""

    recipe: FusionRecipe = field(default_factory=FusionRecipe)
    are_tracklets: bool = False
    """Whether the images of a person are one query."""

    unknown: Unknown = "auto"
    reranking: RerankingRecipe | None = None
    """Re-rank by these parameters; None does not re-rank."""

    within: GalleryFilter = EVERYTHING
    """Which gallery images are searched."""

    def __post_init__(self) -> None:
        """Refuse to re-rank means before images are embedded."""
        require_rerankable(self.recipe, self.reranking)

    @property
    def fusion(self) -> str:
        """Name of the fusion in calibrations."""
        return self.recipe.words(are_tracklets=self.are_tracklets)

    def decision_for(self, gallery: Gallery) -> Decision:
        """Choose threshold and confidence.

        Raises:
            GalleryError: The gallery's threshold is requested, but was found for another fusion.
        """
        return decide(
            gallery.describe().calibrations,
            unknown=self.unknown,
            fusion=self.fusion,
            place=gallery.place,
            is_reranked=self.reranking is not None,
        )

    def answer(
        self,
        gallery: Gallery,
        images: Sequence[ListedImage],
        vectors: Tensor,
        *,
        decision: Decision | None = None,
    ) -> tuple[Identification, ...]:
        """Name the people in images.

        Args:
            gallery: Known people.
            images: N queries.
            vectors: (N, D) float32, rows of unit L2 norm, by the gallery's encoder.
            decision: As given by `decision_for`; None: it is called.

        Returns:
            An answer per query, in the order of their first images.

        Raises:
            GalleryError: The gallery is empty, damaged, or calibrated for another fusion.
        """
        identifier = Identifier(
            gallery,
            recipe=self.recipe,
            top_k=self.top_k,
            decision=decision or self.decision_for(gallery),
            reranking=self.reranking,
            within=self.within,
        )
        queries = tracklet_queries(images) if self.are_tracklets else single_queries(images)
        return identifier.identify(queries, vectors_of_queries(queries, images, vectors))
