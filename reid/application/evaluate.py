"""Score an encoder on a dataset."""

from dataclasses import dataclass

from reid.domain.metrics import QueryScores, require_matches
from reid.domain.services.reidentification import Reidentification
from reid.domain.values.encoders import EncoderDescription
from reid.domain.values.recipes import RerankingRecipe
from reid.domain.values.reports import EvaluationReport
from reid.domain.values.samples import Split
from reid.ports.dataset import Dataset
from reid.ports.encoder import ImageEncoder


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationOutcome:
    """Scores, and what they are the scores of."""

    dataset: str
    encoder: EncoderDescription
    report: EvaluationReport


@dataclass(frozen=True, slots=True, kw_only=True)
class DetailedEvaluation:
    """Scores, and how each query fared."""

    outcome: EvaluationOutcome
    scores: QueryScores


class Evaluate:
    """Embeds a dataset's query and gallery pictures and scores the ranking."""

    def __init__(
        self,
        *,
        encoder: ImageEncoder,
        dataset: Dataset,
        reidentification: Reidentification,
        reranking: RerankingRecipe | None = None,
        remove_same_camera: bool = True,
    ) -> None:
        """Keep the parts and the protocol."""
        self._encoder = encoder
        self._dataset = dataset
        self._reidentification = reidentification
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

    def run_queries(self) -> DetailedEvaluation:
        """Evaluate, and keep the scores of each query.

        Raises:
            DatasetError: A list or picture cannot be read.
            EvaluationError: No query has a true match.
        """
        self.check()
        scored = self._reidentification.evaluate_queries(
            self._dataset,
            reranking=self._reranking,
            remove_same_camera=self._remove_same_camera,
        )
        outcome = EvaluationOutcome(
            dataset=self._dataset.name, encoder=self._encoder.description, report=scored.report
        )
        return DetailedEvaluation(outcome=outcome, scores=scored.scores)
