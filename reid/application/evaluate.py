"""Score an encoder on a dataset."""

from dataclasses import dataclass

from reid.domain.counting import score_embeddings
from reid.domain.metrics import QueryScores, require_matches
from reid.domain.services.analysing import analyse
from reid.domain.services.reidentification import Reidentification, ScoredQueries
from reid.domain.services.screening import ScreenedDataset
from reid.domain.values.analyses import AnalysisRecipe, EvaluationAnalysis
from reid.domain.values.encoders import EncoderDescription
from reid.domain.values.features import EmbeddingSet
from reid.domain.values.recipes import RerankingRecipe
from reid.domain.values.reports import EvaluationReport
from reid.domain.values.samples import Split, UnreadableImage
from reid.ports.dataset import Dataset
from reid.ports.image_encoder import ImageEncoder
from reid.ports.maps import MapMaker


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationOutcome:
    """Scores, and what they are the scores of."""

    dataset: str
    encoder: EncoderDescription
    report: EvaluationReport
    left_out: tuple[UnreadableImage, ...] = ()
    """Pictures that cannot be read and so were in neither list, where that was wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DetailedEvaluation:
    """Scores, and how each query fared."""

    outcome: EvaluationOutcome
    scores: QueryScores
    analysis: EvaluationAnalysis | None = None
    """What lies behind the averages, where that was asked for."""


_SCORED = (Split.QUERY, Split.GALLERY)


class Evaluate:
    """Embeds a dataset's query and gallery pictures and scores the ranking."""

    def __init__(
        self,
        *,
        encoder: ImageEncoder,
        dataset: Dataset,
        reidentification: Reidentification,
        map_maker: MapMaker,
        reranking: RerankingRecipe | None = None,
        remove_same_camera: bool = True,
        screened: ScreenedDataset | None = None,
    ) -> None:
        """Keep the parts and the protocol.

        Args:
            encoder: Scored.
            dataset: Ranked.
            reidentification: Ranks.
            map_maker: Lays out a sample for the page of an evaluation.
            reranking: How to order anew; None: do not.
            remove_same_camera: Follow Market-1501's protocol.
            screened: The dataset, where it may leave bad pictures out.
        """
        self._screened = screened
        self._encoder = encoder
        self._dataset = dataset
        self._reidentification = reidentification
        self._map_maker = map_maker
        self._reranking = reranking
        self._remove_same_camera = remove_same_camera

    def check(self) -> None:
        """Find out from the lists alone whether an evaluation is possible.

        Raises:
            DatasetError: A list cannot be read.
            EvaluationError: No query has a true match.
        """
        require_matches(
            self._dataset.samples(Split.QUERY),
            self._dataset.samples(Split.GALLERY),
            remove_same_camera=self._remove_same_camera,
        )

    def run(self) -> EvaluationOutcome:
        """Evaluate.

        Raises:
            DatasetError: A list or picture cannot be read.
            EvaluationError: No query has a true match.
        """
        return self.run_queries().outcome

    def run_queries(self, *, recipe: AnalysisRecipe | None = None) -> DetailedEvaluation:
        """Evaluate, and keep the scores of each query.

        Args:
            recipe: How to look behind the averages; None: do not.

        Raises:
            DatasetError: A list or picture cannot be read.
            EvaluationError: No query has a true match.
        """
        self.check()
        queries, gallery = self._reidentification.embed_lists(self._dataset)
        scored = self._reidentification.score_queries(
            queries,
            gallery,
            reranking=self._reranking,
            remove_same_camera=self._remove_same_camera,
        )
        analysis = None
        if recipe is not None:
            analysis = self._analyse(queries, gallery, scored=scored, recipe=recipe)
        outcome = EvaluationOutcome(
            dataset=self._dataset.name,
            encoder=self._encoder.description,
            report=scored.report,
            left_out=self._screened.left_out(_SCORED) if self._screened else (),
        )
        return DetailedEvaluation(outcome=outcome, scores=scored.scores, analysis=analysis)

    def _analyse(
        self,
        queries: EmbeddingSet,
        gallery: EmbeddingSet,
        *,
        scored: ScoredQueries,
        recipe: AnalysisRecipe,
    ) -> EvaluationAnalysis:
        """Look at the exact ranking by cosine, also where another one was scored."""
        scores = scored.scores
        if self._reranking is not None or not scored.report.is_exact:
            scores = score_embeddings(queries, gallery, remove_same_camera=self._remove_same_camera)
        return analyse(
            queries,
            gallery,
            scores=scores,
            lists=(self._dataset.samples(Split.QUERY), self._dataset.samples(Split.GALLERY)),
            recipe=recipe,
            map_maker=self._map_maker,
            remove_same_camera=self._remove_same_camera,
        )
