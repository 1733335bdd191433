"""Score a run's encoder and keep, beside the scores, what they depend on."""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import cast

from reid.application.evaluate import Evaluate, EvaluationOutcome
from reid.application.records import read_evaluation
from reid.domain.errors import CheckpointError, DatasetError
from reid.domain.metrics import QueryScores
from reid.domain.services.fine_tuning import ENCODER
from reid.domain.values.analyses import AnalysisRecipe, EvaluationAnalysis
from reid.domain.values.checkpoints import JsonValue, digest_of
from reid.domain.values.evaluations import (
    ELSEWHERE_PREFIX,
    EVALUATION,
    QUERIES_SUFFIX,
    RECORD_VERSION,
    EvaluationRecord,
    QueryRecord,
    SplitRecord,
)
from reid.domain.values.samples import Split, SplitStatistics, digest_of_samples
from reid.ports.dataset import Dataset
from reid.ports.records import RunRecords
from reid.ports.runs import RunStore


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEvaluation:
    """Scores of a run's encoder, and what belongs to them."""

    outcome: EvaluationOutcome
    scores: QueryScores
    data: Mapping[Split, SplitRecord]
    query_names: tuple[str, ...]
    weights_digest: str
    seconds: float
    analysis: EvaluationAnalysis | None = None
    """What lies behind the averages, where that was asked for; not recorded."""


class EvaluateRun:
    """Evaluates what a run trained, with digests of pictures and weights."""

    def __init__(
        self,
        *,
        evaluate: Evaluate,
        dataset: Dataset,
        runs: RunStore,
        settings: Mapping[str, JsonValue],
        circumstances: Mapping[str, JsonValue],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Keep the parts.

        Args:
            evaluate: Scores the encoder that the run trained.
            dataset: The one that is evaluated.
            runs: The run.
            settings: What scores depend on beside pictures and weights.
            circumstances: Versions, device and the like.
            clock: Seconds from any start.
        """
        self._evaluate = evaluate
        self._dataset = dataset
        self._runs = runs
        self._settings = settings
        self._circumstances = circumstances
        self._clock = clock

    def check(self) -> None:
        """Find out from the lists alone whether an evaluation is possible.

        Raises:
            DatasetError: A list cannot be read.
            EvaluationError: No query has a true match.
        """
        self._evaluate.check()

    def run(self, *, recipe: AnalysisRecipe | None = None) -> RunEvaluation:
        """Evaluate; nothing is written.

        Args:
            recipe: How to look behind the averages; None: do not.

        Raises:
            CheckpointError: The run has no trained encoder.
            DatasetError: A list or picture cannot be read.
            EvaluationError: No query has a true match.
        """
        weights = self._runs.load(ENCODER)
        if weights is None:
            raise CheckpointError(
                f"{self._runs.place} holds no trained encoder: train one first (reid train)"
            )
        weights_digest = digest_of(weights.tensors)
        del weights
        began = self._clock()
        detailed = self._evaluate.run_queries(recipe=recipe)
        return RunEvaluation(
            outcome=detailed.outcome,
            scores=detailed.scores,
            data=_recorded_splits(self._dataset),
            query_names=tuple(sample.image for sample in self._dataset.samples(Split.QUERY)),
            weights_digest=weights_digest,
            seconds=round(self._clock() - began, 3),
            analysis=detailed.analysis,
        )

    def as_record(self, evaluated: RunEvaluation, *, name: str) -> dict[str, JsonValue]:
        """Put an evaluation as it is kept."""
        content = {
            "name": name,
            "version": RECORD_VERSION,
            **asdict(evaluated.outcome),
            "data": {str(split): asdict(known) for split, known in evaluated.data.items()},
            "weights_digest": evaluated.weights_digest,
            "settings": dict(self._settings),
            "seconds": evaluated.seconds,
            "circumstances": dict(self._circumstances),
        }
        if not evaluated.outcome.left_out:
            del content["left_out"]
        return cast("dict[str, JsonValue]", content)

    def keep(self, evaluated: RunEvaluation, *, name: str) -> None:
        """Write the scores of the queries and the record of the whole beside the run.

        Raises:
            CheckpointError: The run's place cannot be written.
        """
        queries = QueryRecord(
            query=evaluated.query_names,
            average_precision=evaluated.scores.average_precision.tolist(),
            inverse_negative_penalty=evaluated.scores.inverse_negative_penalty.tolist(),
            first_match_rank=evaluated.scores.first_match_rank.tolist(),
            num_matches=evaluated.scores.num_matches.tolist(),
            query_digest=evaluated.data[Split.QUERY].digest,
            weights_digest=evaluated.weights_digest,
        )
        plain = cast("dict[str, JsonValue]", asdict(queries))
        self._runs.record(f"{name}{QUERIES_SUFFIX}", plain)
        self._runs.record(name, self.as_record(evaluated, name=name))

    def name_for(self, evaluated: RunEvaluation, records: RunRecords) -> str | None:
        """Choose the name under which `keep` replaces no evaluation of another kind.

        `evaluation` is the run's own dataset by the protocol with which the run ended; None where
        weights lie without a run that could hold a record.

        Raises:
            CheckpointError: The run's records are damaged.
        """
        manifest = records.manifest()
        if manifest is None:
            return None
        plain = self.as_record(evaluated, name=EVALUATION)
        record = EvaluationRecord.parse(EVALUATION, plain)
        recorded = read_evaluation(records) if EVALUATION in records.names() else None
        if not _is_own(record, recorded, manifest=manifest):
            slug = re.sub(r"[^A-Za-z0-9_]+", "-", record.dataset).strip("-") or "other"
            return ELSEWHERE_PREFIX + "-".join((slug, *record.peculiarities))
        peculiar = record.peculiarities
        if recorded is not None and record.architecture != recorded.architecture:
            return "-".join((EVALUATION, *record.architecture, *peculiar))
        if peculiar == (recorded.peculiarities if recorded else ()):
            return EVALUATION
        return "-".join((EVALUATION, *(peculiar or ("plain",))))


def _is_own(
    record: EvaluationRecord, recorded: EvaluationRecord | None, *, manifest: Mapping[str, object]
) -> bool:
    """Whether the dataset is the one with which the run ended, or else was trained on."""
    if recorded is not None and recorded.data is not None:
        tested = (Split.QUERY, Split.GALLERY)
        return all(record.digest_of(split) == recorded.digest_of(split) for split in tested)
    decisive = manifest["decisive"]
    trained_on = decisive.get("dataset.digest") if isinstance(decisive, Mapping) else None
    return trained_on is not None and record.digest_of(Split.TRAIN) == trained_on


def _recorded_splits(dataset: Dataset) -> dict[Split, SplitRecord]:
    """Count and digest the lists; one without training pictures can be evaluated all the same."""
    known = {}
    for split in Split:
        try:
            samples = dataset.samples(split)
        except DatasetError:
            if split is not Split.TRAIN:
                raise
            continue
        counted = SplitStatistics.of(split, samples)
        known[split] = SplitRecord(
            digest=digest_of_samples(samples),
            num_identities=counted.num_identities,
            num_images=counted.num_images,
            num_cameras=counted.num_cameras,
        )
    return known
