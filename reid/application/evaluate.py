"""Score an encoder on a dataset."""

from dataclasses import dataclass
from typing import TypeAlias

from reid.domain.ranking.exact_scores import score_embeddings
from reid.domain.ranking.metrics import QueryScores, require_matches
from reid.domain.services.analysing import analyse
from reid.domain.services.reidentification import Reidentification
from reid.domain.services.screening import ScreenedDataset
from reid.domain.values.analyses import AnalysisRecipe, EvaluationAnalysis
from reid.domain.values.encoders import EncoderDescription
from reid.domain.values.recipes import RerankingRecipe
from reid.domain.values.reports import EvaluationReport
from reid.domain.values.samples import Split, UnreadableImage
from reid.ports.dataset import Dataset
from reid.ports.image_encoder import ImageEncoder
from reid.ports.maps import MapMaker


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Scores of an encoder on a dataset."""

    dataset: str
    encoder: EncoderDescription
    report: EvaluationReport
    left_out: tuple[UnreadableImage, ...] = ()
    """Unreadable images that were left out of both lists, as requested."""


DetailedEvaluation: TypeAlias = tuple[Evaluation, QueryScores, EvaluationAnalysis | None]
"""Average scores, scores of each query, and the analysis where requested."""

_SCORED = (Split.QUERY, Split.GALLERY)


class Evaluate:
    """Embeds a dataset's query and gallery images and scores the ranking."""

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

        Without `reranking` images are not re-ranked; `remove_same_camera` follows Market-1501's
        protocol; `screened` is the dataset where it may leave bad images out.
        """
        self._screened = screened
        self._encoder = encoder
        self._dataset = dataset
        self._reidentification = reidentification
        self._map_maker = map_maker
        self._reranking = reranking
        self._remove_same_camera = remove_same_camera

    def check(self) -> None:
        """Check from the lists alone that an evaluation is possible.

        Raises:
            DatasetError: A list cannot be read.
            EvaluationError: No query has a true match.
        """
        queries, gallery = (self._dataset.samples(split) for split in _SCORED)
        require_matches(queries, gallery, remove_same_camera=self._remove_same_camera)

    def run(self) -> Evaluation:
        """Evaluate; see `run_queries`."""
        return self.run_queries()[0]

    def run_queries(self, *, recipe: AnalysisRecipe | None = None) -> DetailedEvaluation:
        """Evaluate, and keep the scores of each query; a recipe asks for an analysis too.

        Raises:
            DatasetError: A list or image cannot be read.
            EvaluationError: No query has a true match.
        """
        self.check()
        queries, gallery = self._reidentification.embed_lists(self._dataset)
        rule = self._remove_same_camera
        report, scores = self._reidentification.score_queries(
            queries, gallery, reranking=self._reranking, remove_same_camera=rule
        )
        evaluation = Evaluation(
            dataset=self._dataset.name,
            encoder=self._encoder.description,
            report=report,
            left_out=self._screened.left_out(_SCORED) if self._screened else (),
        )
        if recipe is None:
            return evaluation, scores, None
        # The exact ranking by cosine is analysed, also where another one was scored.
        is_by_cosine = self._reranking is None and report.is_exact
        analysis = analyse(
            queries,
            gallery,
            scores=scores
            if is_by_cosine
            else score_embeddings(queries, gallery, remove_same_camera=rule),
            lists=(self._dataset.samples(Split.QUERY), self._dataset.samples(Split.GALLERY)),
            recipe=recipe,
            map_maker=self._map_maker,
            remove_same_camera=rule,
        )
        return evaluation, scores, analysis
