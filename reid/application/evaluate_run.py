"""Score a run's encoder, and record the scores with everything they depend on."""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any, cast

from reid.application.evaluate import Evaluate, Evaluation
from reid.application.records import read_evaluation
from reid.domain.errors import CheckpointError, DatasetError
from reid.domain.events import Stage
from reid.domain.ranking.metrics import QueryScores
from reid.domain.values.analyses import AnalysisRecipe, EvaluationAnalysis
from reid.domain.values.checkpoints import JsonValue, digest_of
from reid.domain.values.evaluations import (
    ELSEWHERE_PREFIX,
    EVALUATION,
    QUERIES_SUFFIX,
    EvaluationRecord,
    QueryRecord,
    SplitRecord,
)
from reid.domain.values.samples import Split, SplitStatistics, digest_of_samples
from reid.ports.dataset import Dataset
from reid.ports.records import RunRecords
from reid.ports.runs import RunStore


class EvaluateRun:
    """Evaluates a run's encoder, with digests of images and weights."""

    def __init__(
        self,
        *,
        evaluate: Evaluate,
        dataset: Dataset,
        runs: RunStore,
        settings: Mapping[str, JsonValue],
        environment: Mapping[str, JsonValue],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Keep the parts; the scores depend on images, weights and `settings`."""
        self._evaluate = evaluate
        self._dataset = dataset
        self._runs = runs
        self._settings = settings
        self._environment = environment
        self._clock = clock

    def check(self) -> None:
        """Check from the lists alone that an evaluation is possible; see `Evaluate.check`."""
        self._evaluate.check()

    def run(
        self, *, recipe: AnalysisRecipe | None = None
    ) -> tuple[Evaluation, EvaluationRecord, EvaluationAnalysis | None]:
        """Evaluate; nothing is written. A recipe asks for an analysis too.

        Returns:
            The scores, the record for `keep`, and the analysis.

        Raises:
            CheckpointError: The run has no trained encoder.
            DatasetError: A list or image cannot be read.
            EvaluationError: No query has a true match.
        """
        weights = self._runs.load(Stage.ENCODER)
        if weights is None:
            raise CheckpointError(f"{self._runs.place} holds no trained encoder: train one first")
        weights_digest = digest_of(weights.tensors)
        del weights
        began = self._clock()
        evaluation, scores, analysis = self._evaluate.run_queries(recipe=recipe)
        data = _recorded_splits(self._dataset)
        record = EvaluationRecord(
            name=EVALUATION,
            dataset=evaluation.dataset,
            encoder=asdict(evaluation.encoder),
            report=evaluation.report,
            data=data,
            weights_digest=weights_digest,
            settings=self._settings,
            seconds=round(self._clock() - began, 3),
            environment=self._environment,
            left_out=evaluation.left_out,
            queries=QueryRecord(
                query=[sample.name for sample in self._dataset.samples(Split.QUERY)],
                query_digest=data[Split.QUERY].digest,
                weights_digest=weights_digest,
                **_columns(scores),
            ),
        )
        return evaluation, record, analysis

    def keep(self, record: EvaluationRecord, *, name: str) -> None:
        """Write the scores of the queries and the record of the evaluation to the run.

        Raises:
            CheckpointError: The run's place cannot be written.
        """
        if record.queries is not None:
            self._runs.record(f"{name}{QUERIES_SUFFIX}", asdict(record.queries))
        content = replace(record, name=name).content
        self._runs.record(name, cast("dict[str, JsonValue]", content))

    def name_for(self, record: EvaluationRecord, records: RunRecords) -> str | None:
        """Choose the name under which `keep` replaces no evaluation of another kind.

        `evaluation` is of the run's own dataset by the protocol of its training; None where weights
        are not in a run that could hold a record.

        Raises:
            CheckpointError: The run's records are damaged.
        """
        manifest = records.manifest()
        if manifest is None:
            return None
        recorded = read_evaluation(records) if EVALUATION in records.names() else None
        if not _is_own(record, recorded, manifest=manifest):
            slug = re.sub(r"[^A-Za-z0-9_]+", "-", record.dataset).strip("-") or "other"
            return ELSEWHERE_PREFIX + "-".join((slug, *record.variant))
        variant = record.variant
        if recorded is not None and record.architecture != recorded.architecture:
            return "-".join((EVALUATION, *record.architecture, *variant))
        if variant == (recorded.variant if recorded else ()):
            return EVALUATION
        return "-".join((EVALUATION, *(variant or ("plain",))))


def _is_own(
    record: EvaluationRecord, recorded: EvaluationRecord | None, *, manifest: Mapping[str, object]
) -> bool:
    """Whether the dataset is the one that the run was evaluated on, or else trained on."""
    if recorded is not None:
        tested = (Split.QUERY, Split.GALLERY)
        return all(record.digest_of(split) == recorded.digest_of(split) for split in tested)
    fingerprint = manifest["fingerprint"]
    trained_on = fingerprint.get("dataset.digest") if isinstance(fingerprint, Mapping) else None
    return trained_on is not None and record.digest_of(Split.TRAIN) == trained_on


def _columns(scores: QueryScores) -> dict[str, Any]:
    names = ("average_precision", "inverse_negative_penalty", "first_match_rank", "num_matches")
    return {name: getattr(scores, name).tolist() for name in names}


def _recorded_splits(dataset: Dataset) -> dict[str, SplitRecord]:
    """Count and digest the lists; a dataset without training images can be evaluated too."""
    known = {}
    for split in Split:
        try:
            samples = dataset.samples(split)
        except DatasetError:
            if split is not Split.TRAIN:
                raise
            continue
        counts = asdict(SplitStatistics.of(split, samples))
        del counts["split"]
        known[str(split)] = SplitRecord(digest=digest_of_samples(samples), **counts)
    return known
