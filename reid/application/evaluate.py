"""Score an encoder on a dataset, and record the scores with everything they depend on."""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, cast

from reid.application.records import read_evaluation
from reid.domain.errors import CheckpointError, DatasetError
from reid.domain.events import Stage
from reid.domain.ranking.exact_scores import score_embeddings
from reid.domain.ranking.metrics import QueryScores, require_matches
from reid.domain.services.copies import queries_in_gallery
from reid.domain.services.embedding import Embedder
from reid.domain.services.scoring import analyse, score_queries
from reid.domain.services.screening import ScreenedDataset
from reid.domain.values.analyses import AnalysisRecipe, EvaluationAnalysis
from reid.domain.values.checkpoints import JsonValue, digest_of
from reid.domain.values.encoders import EncoderDescription
from reid.domain.values.evaluations import (
    ELSEWHERE_PREFIX,
    EVALUATION,
    QUERIES_SUFFIX,
    EvaluationRecord,
    QueryRecord,
    SplitRecord,
)
from reid.domain.values.recipes import RerankingRecipe
from reid.domain.values.reports import EvaluationReport
from reid.domain.values.samples import Split, SplitStatistics, UnreadableImage, digest_of_samples
from reid.ports.dataset import Dataset
from reid.ports.image_encoder import ImageEncoder
from reid.ports.pages import MapMaker
from reid.ports.runs import RunRecords, RunStore
from reid.ports.vector_index import VectorIndex

_SCORED = (Split.QUERY, Split.GALLERY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Scores of an encoder on a dataset."""

    dataset: str
    encoder: EncoderDescription
    report: EvaluationReport
    left_out: tuple[UnreadableImage, ...] = ()  # unreadable, of both lists, as requested
    queries_in_gallery: tuple[str, ...] = ()
    """Queries whose very content is among the gallery images scored for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluate:
    """Embeds a dataset's query and gallery images and scores the ranking."""

    encoder: ImageEncoder
    embedder: Embedder
    dataset: Dataset
    index: VectorIndex
    map_maker: MapMaker
    reranking: RerankingRecipe | None = None
    remove_same_camera: bool = True
    screened: ScreenedDataset | None = None  # the dataset where it may leave bad images out

    def check(self) -> None:
        """Check from the lists alone that an evaluation is possible.

        Raises:
            DatasetError: A list cannot be read.
            EvaluationError: No query has a true match.
        """
        queries, gallery = map(self.dataset.samples, _SCORED)
        require_matches(queries, gallery, remove_same_camera=self.remove_same_camera)

    def run(
        self, *, recipe: AnalysisRecipe | None = None
    ) -> tuple[Evaluation, QueryScores, EvaluationAnalysis | None]:
        """Return average scores, scores of each query, and with a recipe an analysis too.

        Raises:
            DatasetError: A list or image cannot be read.
            EvaluationError: No query has a true match.
        """
        self.check()
        rule = self.remove_same_camera
        lists = self.dataset.samples(Split.QUERY), self.dataset.samples(Split.GALLERY)
        queries, gallery = (
            self.embedder.embed_samples(self.dataset.reader, samples, subset=split)
            for split, samples in zip(_SCORED, lists, strict=True)
        )
        report, scores = score_queries(
            queries, gallery, index=self.index, reranking=self.reranking, remove_same_camera=rule
        )
        evaluation = Evaluation(
            dataset=self.dataset.name,
            encoder=self.encoder.description,
            report=report,
            left_out=self.screened.left_out(_SCORED) if self.screened else (),
            queries_in_gallery=queries_in_gallery(
                self.dataset.reader, *lists, remove_same_camera=rule
            ),
        )
        if recipe is None:
            return evaluation, scores, None
        # The exact ranking by cosine is analysed, also where another one was scored.
        exact = scores
        if self.reranking is not None or not report.is_exact:
            exact = score_embeddings(queries, gallery, remove_same_camera=rule)
        analysis = analyse(
            queries,
            gallery,
            scores=exact,
            lists=lists,
            recipe=recipe,
            map_maker=self.map_maker,
            remove_same_camera=rule,
        )
        return evaluation, scores, analysis


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateRun:
    """Evaluates a run's encoder, with digests of images and weights."""

    evaluate: Evaluate
    runs: RunStore
    settings: Mapping[str, JsonValue]  # the scores depend on these, on images and on weights
    environment: Mapping[str, JsonValue]
    clock: Callable[[], float] = time.perf_counter

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
        weights = self.runs.load(Stage.ENCODER)
        if weights is None:
            raise CheckpointError(f"{self.runs.place} holds no trained encoder: train one first")
        weights_digest = digest_of(weights.tensors)
        del weights
        began = self.clock()
        evaluation, scores, analysis = self.evaluate.run(recipe=recipe)
        data = _recorded_splits(self.evaluate.dataset)
        columns = {one.name: getattr(scores, one.name).tolist() for one in fields(scores)}
        record = EvaluationRecord(
            name=EVALUATION,
            dataset=evaluation.dataset,
            encoder=asdict(evaluation.encoder),
            report=evaluation.report,
            data=data,
            weights_digest=weights_digest,
            settings=self.settings,
            seconds=round(self.clock() - began, 3),
            environment=self.environment,
            left_out=evaluation.left_out,
            queries=QueryRecord(
                query=[sample.name for sample in self.evaluate.dataset.samples(Split.QUERY)],
                query_digest=data[Split.QUERY].digest,
                weights_digest=weights_digest,
                **columns,
            ),
        )
        return evaluation, record, analysis

    def keep(self, record: EvaluationRecord, *, name: str) -> None:
        """Write the scores of the queries and the record of the evaluation to the run.

        Raises:
            CheckpointError: The run's place cannot be written.
        """
        if record.queries is not None:
            self.runs.record(f"{name}{QUERIES_SUFFIX}", asdict(record.queries))
        content = replace(record, name=name).content
        self.runs.record(name, cast("dict[str, JsonValue]", content))


def name_for(record: EvaluationRecord, records: RunRecords) -> str | None:
    """Choose the name under which `keep` replaces no evaluation of another kind.

    `evaluation` is of the run's own dataset by the protocol of its training; None where weights are
    not in a run that could hold a record.

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
    record: EvaluationRecord, recorded: EvaluationRecord | None, *, manifest: Mapping[str, Any]
) -> bool:
    """Whether the dataset is the one that the run was evaluated on, or else trained on."""
    if recorded is not None:
        return all(record.digest_of(split) == recorded.digest_of(split) for split in _SCORED)
    fingerprint = manifest["fingerprint"]
    trained_on = fingerprint.get("dataset.digest") if isinstance(fingerprint, Mapping) else None
    return trained_on is not None and record.digest_of(Split.TRAIN) == trained_on


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
