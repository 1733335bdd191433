"""From query pictures to answers, in the manner that was asked for.

Letters: N query pictures, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from reid.domain.services.decisions import Decision, Unknown, decide
from reid.domain.services.gallery import Gallery
from reid.domain.services.people import People, require_rerankable
from reid.domain.services.questions import ask_each, ask_tracklets, vectors_of_questions
from reid.domain.values.galleries import EVERYTHING, GalleryFilter
from reid.domain.values.people import FusionRecipe
from reid.domain.values.recipes import RerankingRecipe
from reid.domain.values.reports import Identification
from reid.domain.values.samples import Picture


@dataclass(frozen=True, slots=True, kw_only=True)
class Answering:
    """How questions are put to a gallery and what is said of the answers."""

    top_k: int = 5
    """Gallery pictures shown with each answer."""

    recipe: FusionRecipe = field(default_factory=FusionRecipe)
    are_tracklets: bool = False
    """Whether the pictures of a person are one question."""

    unknown: Unknown = "auto"
    reranking: RerankingRecipe | None = None
    """Re-rank by these parameters; None: do not."""

    within: GalleryFilter = EVERYTHING
    """Which gallery pictures are looked at."""

    def __post_init__(self) -> None:
        """Refuse what could not be answered, before pictures are embedded.

        Raises:
            ConfigurationError: Means are to be re-ranked.
        """
        require_rerankable(self.recipe, self.reranking)

    @property
    def fusion(self) -> str:
        """The fusion in words, as calibrations keep it."""
        return self.recipe.words(are_tracklets=self.are_tracklets)

    def decision_for(self, gallery: Gallery) -> Decision:
        """Choose threshold and confidence.

        Raises:
            GalleryError: The gallery is calibrated for another fusion, and its threshold is asked
                for.
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
        pictures: Sequence[Picture],
        vectors: Tensor,
        *,
        decision: Decision | None = None,
    ) -> tuple[Identification, ...]:
        """Name the people on pictures.

        Args:
            gallery: Known people.
            pictures: N queries.
            vectors: (N, D) float32, rows of unit L2 norm, by the gallery's encoder.
            decision: What `decision_for` gave for the gallery, where it was asked before.

        Returns:
            An answer per question, in the order of their first pictures.

        Raises:
            GalleryError: The gallery is empty, damaged, or calibrated for another fusion.
        """
        people = People(
            gallery,
            recipe=self.recipe,
            top_k=self.top_k,
            decision=decision or self.decision_for(gallery),
            reranking=self.reranking,
            within=self.within,
        )
        questions = ask_tracklets(pictures) if self.are_tracklets else ask_each(pictures)
        return people.identify(questions, vectors_of_questions(questions, pictures, vectors))
