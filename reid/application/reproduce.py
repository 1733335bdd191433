"""Evaluate a run once more, and say what differs from the record."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from reid.application.compare_runs import RecordedEvaluation
from reid.application.evaluate_run import EvaluateRun, RunEvaluation
from reid.application.records import (
    read_evaluation,
    read_queries,
    require_complete,
    require_manifest,
)
from reid.domain.values.evaluations import EvaluationRecord
from reid.domain.values.reports import EvaluationReport

_ROUNDING = 1e-3
"""Of a mean score, as a share: float32 on another device swaps a few pictures nearly tied."""

_OF_AN_ADAPTER = 2
"""Names below a section: `index.annoy.trees`, but `index.kind`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Something that is not as it was recorded."""

    part: str
    """A dotted name: `data.query`, `weights`, `settings.seed`, `versions.torch`."""

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
    """Changes that make it another evaluation: of pictures, weights and settings."""

    circumstances: tuple[Change, ...]
    """Changes of versions and machine, which explain differences but are none."""

    num_changed_queries: int
    """Recorded queries whose average precision is not exactly the recorded one, or that are gone.

    Queries that are new are none of them: the digest of the queries tells of those.
    Where a tolerance is given only the means must keep to it: rounding that swaps two pictures
    moves a single query far and the mean hardly.
    """

    num_queries: int
    """Of the record."""

    @property
    def differing(self) -> tuple[str, ...]:
        """Name what keeps this from being a reproduction."""
        scores = [
            pair.measure for pair in self.scores if abs(pair.now - pair.recorded) > self.tolerance
        ]
        is_exact = self.tolerance == 0
        queries = ["scores of single queries"] if is_exact and self.num_changed_queries else []
        return (*(change.part for change in self.causes), *scores, *queries)

    @property
    def is_rounding(self) -> bool:
        """Whether rounding alone may explain what differs: tiny, and on another machine."""
        largest = max(abs(pair.now - pair.recorded) for pair in self.scores)
        return not self.causes and bool(self.circumstances) and largest < _ROUNDING

    @property
    def is_reproduced(self) -> bool:
        """Whether pictures, weights and settings are those recorded, and so are the scores."""
        return not self.differing


class Reproduce:
    """Checks a recorded evaluation; the record stays as it is."""

    def __init__(self, *, evaluate: EvaluateRun) -> None:
        """Keep the use case, made from the recorded settings."""
        self._evaluate = evaluate

    def run(self, source: RecordedEvaluation, *, tolerance: float = 0.0) -> ReproductionOutcome:
        """Evaluate again.

        Args:
            source: The record.
            tolerance: Largest difference of a mean score, as a share, that counts as none.

        Raises:
            CheckpointError: The record or the weights are missing, damaged or too old.
            DatasetError: A list or picture cannot be read.
            EvaluationError: No query has a true match.
        """
        record = require_complete(source.records, read_evaluation(source.records, source.name))
        queries = read_queries(source.records, record)
        done = self._evaluate.run()
        plain = self._evaluate.as_record(done, name=source.name)
        again = EvaluationRecord.parse(source.name, plain)
        return ReproductionOutcome(
            run=source.records.place,
            evaluation=source.name,
            dataset=again.dataset,
            scores=_scores(record.report, again.report),
            tolerance=tolerance,
            causes=tuple(_changes(*_causes(record, again))),
            circumstances=tuple(_changes(_surroundings(record), _surroundings(again))),
            num_changed_queries=_count_changed(
                dict(zip(queries.query, queries.average_precision, strict=True)), done
            ),
            num_queries=len(queries.query),
        )


def recorded_settings(source: RecordedEvaluation) -> tuple[EvaluationRecord, Mapping[str, Any]]:
    """Read an evaluation that can be done again, and the settings of its run.

    Raises:
        CheckpointError: It is missing, damaged or too old.
    """
    record = require_complete(source.records, read_evaluation(source.records, source.name))
    manifest = require_manifest(source.records)
    settings = manifest["circumstances"].get("settings")
    return record, settings if isinstance(settings, Mapping) else {}


def _scores(recorded: EvaluationReport, now: EvaluationReport) -> tuple[ScorePair, ...]:
    def list_of(report: EvaluationReport) -> dict[str, float]:
        return {
            "mAP": report.mean_average_precision,
            "mINP": report.mean_inverse_negative_penalty,
            **{f"Rank-{k}": report.rank(k) for k in (1, 5, 10)},
        }

    then, again = list_of(recorded), list_of(now)
    return tuple(ScorePair(measure=name, recorded=then[name], now=again[name]) for name in then)


def _causes(*records: EvaluationRecord) -> Iterator[dict[str, Any]]:
    """Of each record, what its scores come from, settings that none of them used left out."""
    settings = [record.settings or {} for record in records]
    for record, own in zip(records, settings, strict=True):
        yield {
            "data.query": record.digest_of("query"),
            "data.gallery": record.digest_of("gallery"),
            "weights": record.weights_digest,
            **{
                f"settings.{name}": value
                for name, value in _flattened(own, prefix="")
                if any(_is_used(name, by) for by in settings)
            },
        }


def _is_used(name: str, settings: Mapping[str, Any]) -> bool:
    """Whether a setting has a say: not that of another index or dataset, or of no re-ranking.

    An adapter that is new since the record has settings which it could not hold.
    """
    section, *inner = name.split(".")
    values = settings.get(section)
    kind = values.get("kind") if isinstance(values, Mapping) else None
    if section == "reranking":
        evaluation = settings.get("evaluation")
        return not isinstance(evaluation, Mapping) or evaluation.get("rerank") is not False
    return kind is None or len(inner) < _OF_AN_ADAPTER or inner[0] in (kind, "options")


def _surroundings(record: EvaluationRecord) -> dict[str, Any]:
    known = dict(_flattened(record.circumstances or {}, prefix=""))
    return {"data.train": record.digest_of("train"), **known}


def _changes(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Change]:
    for part in {**recorded, **now}:
        if recorded.get(part) != now.get(part):
            yield Change(part=part, recorded=recorded.get(part), now=now.get(part))


def _flattened(values: Mapping[str, Any], *, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flattened(value, prefix=f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _count_changed(recorded: Mapping[str, float], done: RunEvaluation) -> int:
    now: dict[str, float] = dict(
        zip(done.query_names, done.scores.average_precision.tolist(), strict=True)
    )
    return len([name for name, precision in recorded.items() if now.get(name) != precision])
