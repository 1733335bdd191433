"""Evaluate a run again, and list what differs from the record."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from reid.application.evaluate import EvaluateRun
from reid.application.records import (
    JudgedQueries,
    RecordedEvaluation,
    read_evaluation,
    require_manifest,
)
from reid.domain.values.evaluations import EvaluationRecord

_ROUNDING = 1e-3
"""Largest difference of a mean score by rounding: float32 on another device swaps near ties."""

_OF_AN_ADAPTER = 2
"""Parts of a name below its section: `index.annoy.trees` has two, `index.kind` one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A value that differs from the record."""

    part: str  # a dotted name: `data.query`, `weights`, `settings.seed`, `versions.torch`
    recorded: Any
    now: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ScorePair:
    """A score then and now, as shares in 0..1."""

    measure: str
    recorded: float
    now: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ReproductionOutcome:
    """A recorded evaluation and the same one done again."""

    run: str
    evaluation: str
    dataset: str
    scores: tuple[ScorePair, ...]
    tolerance: float
    causes: tuple[Change, ...]
    """Changes of images, weights and settings, which make it another evaluation."""
    environment: tuple[Change, ...]
    """Changes of versions and machine, which may explain differing scores."""
    num_changed_queries: int
    """Recorded queries whose average precision is not exactly the recorded one, or that are gone.

    New queries do not count; they change the digest of the queries. A tolerance applies to the
    means only: rounding that swaps two images moves a single query far but hardly the mean.
    """
    num_queries: int

    @property
    def differing(self) -> tuple[str, ...]:
        """Name everything that differs from the record."""
        scores = [
            pair.measure for pair in self.scores if abs(pair.now - pair.recorded) > self.tolerance
        ]
        if self.tolerance == 0 and self.num_changed_queries:
            scores.append("scores of single queries")
        return (*(change.part for change in self.causes), *scores)

    @property
    def is_rounding(self) -> bool:
        """Whether rounding alone may explain the differences: tiny, and on another machine."""
        largest = max(abs(pair.now - pair.recorded) for pair in self.scores)
        return not self.causes and bool(self.environment) and largest < _ROUNDING

    @property
    def is_reproduced(self) -> bool:
        """Whether images, weights and settings are those recorded, and so are the scores."""
        return not self.differing


def reproduce(
    source: RecordedEvaluation, *, evaluate: EvaluateRun, tolerance: float = 0.0
) -> ReproductionOutcome:
    """Repeat a recorded evaluation; the record stays as it is.

    `evaluate` is made from the recorded settings; `tolerance` is the largest accepted difference of
    a mean score, as a share.

    Raises:
        CheckpointError: The record or the weights are missing, damaged or too old.
        DatasetError: A list or image cannot be read.
        EvaluationError: No query has a true match.
    """
    judged = JudgedQueries.of(source)
    record = judged.record
    _, again, _ = evaluate.run()
    then, now = record.report.measures, again.report.measures
    queries = again.queries
    precision = dict(zip(queries.query, queries.average_precision, strict=True)) if queries else {}
    recorded = zip(judged.queries.query, judged.queries.average_precision, strict=True)
    return ReproductionOutcome(
        run=source.records.place,
        evaluation=source.name,
        dataset=again.dataset,
        scores=tuple(ScorePair(measure=name, recorded=then[name], now=now[name]) for name in then),
        tolerance=tolerance,
        causes=_changes(*_causes(record, again)),
        environment=_changes(
            *(
                {"data.train": one.digest_of("train"), **dict(_flattened(one.environment))}
                for one in (record, again)
            )
        ),
        num_changed_queries=sum(precision.get(name) != before for name, before in recorded),
        num_queries=len(judged.queries.query),
    )


def recorded_settings(source: RecordedEvaluation) -> tuple[EvaluationRecord, Mapping[str, Any]]:
    """Read an evaluation that can be repeated, and the settings of its run."""
    record = read_evaluation(source.records, source.name)
    settings = require_manifest(source.records)["environment"].get("settings")
    return record, settings if isinstance(settings, Mapping) else {}


def _causes(*records: EvaluationRecord) -> Iterator[dict[str, Any]]:
    """List for each record what its scores depend on, without settings that no record used."""
    for record in records:
        yield {
            "data.query": record.digest_of("query"),
            "data.gallery": record.digest_of("gallery"),
            "weights": record.weights_digest,
            **{
                f"settings.{name}": value
                for name, value in _flattened(record.settings)
                if any(_is_used(name, by.settings) for by in records)
            },
        }


def _is_used(name: str, settings: Mapping[str, Any]) -> bool:
    """Whether a setting has an effect: not that of another index or dataset, or of no re-ranking.

    Settings of an adapter that is newer than the record cannot be in it.
    """
    section, *inner = name.split(".")
    values = settings.get(section)
    kind = values.get("kind") if isinstance(values, Mapping) else None
    if section == "reranking":
        evaluation = settings.get("evaluation")
        return not isinstance(evaluation, Mapping) or evaluation.get("rerank") is not False
    return kind is None or len(inner) < _OF_AN_ADAPTER or inner[0] in (kind, "options")


def _changes(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[Change, ...]:
    return tuple(
        Change(part=part, recorded=recorded.get(part), now=now.get(part))
        for part in {**recorded, **now}
        if recorded.get(part) != now.get(part)
    )


def _flattened(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flattened(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
