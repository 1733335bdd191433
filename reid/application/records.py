"""Read the evaluations that runs recorded, and compare two of them query by query."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from reid.domain.errors import CheckpointError, EvaluationError
from reid.domain.ranking.metrics import QueryScores
from reid.domain.ranking.significance import compare_scores
from reid.domain.values.checkpoints import require_known_version
from reid.domain.values.evaluations import (
    EVALUATION,
    QUERIES_SUFFIX,
    RECORD_VERSION,
    ComparedEvaluation,
    ComparisonOutcome,
    EvaluationRecord,
    QueryRecord,
)
from reid.ports.runs import RunRecords

_NUM_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class RecordedEvaluation:
    """Where an evaluation is recorded."""

    records: RunRecords
    name: str


def require_manifest(records: RunRecords) -> Mapping[str, Any]:
    """Return a run's manifest.

    Raises:
        CheckpointError: No run was begun there, or the manifest is damaged.
    """
    manifest = records.manifest()
    if manifest is None:
        raise CheckpointError(f"{records.place} holds no run: name the folder of one")
    return manifest


def evaluation_names(records: RunRecords) -> tuple[str, ...]:
    """Name the evaluations that a run recorded; its own first."""
    return tuple(
        sorted(
            name
            for name in records.names()
            if (name == EVALUATION or name.startswith(f"{EVALUATION}-"))
            and not name.endswith(QUERIES_SUFFIX)
        )
    )


def has_queries(records: RunRecords, name: str) -> bool:
    """Whether the scores of an evaluation's queries were recorded."""
    return f"{name}{QUERIES_SUFFIX}" in records.names()


def read_evaluation(records: RunRecords, name: str = EVALUATION) -> EvaluationRecord:
    """Read an evaluation without the scores of its queries.

    Raises:
        CheckpointError: There is no run, it has none of that name, or it is damaged.
    """
    content = records.report(name)
    if content is None:
        require_manifest(records)
    if content is None or name not in evaluation_names(records):
        others = ", ".join(evaluation_names(records)) or "none"
        raise CheckpointError(
            f"{records.place} holds no evaluation called {name!r} (there is: {others}); evaluate "
            "the run first"
        )
    place = f"{name} of {records.place}"
    require_known_version(content.get("version"), known=RECORD_VERSION, place=place)
    try:
        return EvaluationRecord.parse(name, content)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(records, name, error) from error


@dataclass(frozen=True, slots=True)
class JudgedQueries:
    """An evaluation with the scores of its queries."""

    source: RecordedEvaluation
    record: EvaluationRecord
    queries: QueryRecord

    @classmethod
    def of(cls, source: RecordedEvaluation) -> "JudgedQueries":
        """Read it.

        Raises:
            CheckpointError: One of the two was not recorded or is damaged, or they do not belong
                together.
        """
        records = source.records
        record = read_evaluation(records, source.name)
        name = f"{record.name}{QUERIES_SUFFIX}"
        content = records.report(name)
        if content is None:
            raise CheckpointError(
                f"{records.place} does not say how each query fared ({name} is missing); evaluate "
                "the run again"
            )
        try:
            queries = QueryRecord(**content)
        except (TypeError, ValueError) as error:
            raise _damaged(records, name, error) from error
        recorded = (record.digest_of("query"), record.weights_digest)
        if (queries.query_digest, queries.weights_digest) != recorded:
            raise CheckpointError(
                f"{name} of {records.place} belongs to another evaluation than {record.name}; "
                "evaluate the run again"
            )
        return cls(source, record, queries)

    @property
    def scores(self) -> QueryScores:
        """Scores of each query, as tensors."""
        kept = self.queries
        negative_penalty = torch.tensor(kept.inverse_negative_penalty, dtype=torch.float64)
        return QueryScores(
            average_precision=torch.tensor(kept.average_precision, dtype=torch.float64),
            inverse_negative_penalty=negative_penalty,
            first_match_rank=torch.tensor(kept.first_match_rank, dtype=torch.int64),
            num_matches=torch.tensor(kept.num_matches, dtype=torch.int64),
        )

    @property
    def task(self) -> tuple[str | None, str | None, bool]:
        """What scores must share to be comparable: queries, gallery and protocol."""
        record = self.record
        same_camera = record.report.is_same_camera_removed
        return record.digest_of("query"), record.digest_of("gallery"), same_camera

    @property
    def protocol(self) -> tuple[object, ...]:
        """What evaluations of one kind share: the task and the way of ranking."""
        return self.task, self.record.variant


def compare_runs(
    first: RecordedEvaluation, second: RecordedEvaluation, *, seed: int
) -> ComparisonOutcome:
    """Compare two recorded evaluations of the same queries; nothing is embedded or ranked again.

    Raises:
        CheckpointError: A record is missing or damaged.
        EvaluationError: They are evaluations of different things.
    """
    one, other = JudgedQueries.of(first), JudgedQueries.of(second)
    if one.task != other.task:
        raise EvaluationError(
            f"{first.name} of {first.records.place} and {second.name} of {second.records.place} do "
            f"not compare: {_difference(one, other)}; evaluate both runs on the same data"
        )
    (differences,) = compare_scores([(one.scores, other.scores)], seed=seed)
    return ComparisonOutcome(
        first=ComparedEvaluation(run=first.records.place, evaluation=first.name),
        second=ComparedEvaluation(run=second.records.place, evaluation=second.name),
        dataset=one.record.dataset,
        num_queries=one.record.report.num_valid_queries,
        differences=differences,
        seed=seed,
    )


def _difference(one: JudgedQueries, other: JudgedQueries) -> str:
    if one.task[0] != other.task[0]:
        known, asked = set(one.queries.query), set(other.queries.query)
        parts = [
            _examples(sorted(missing), f"queries of the {which} only")
            for missing, which in ((known - asked, "first"), (asked - known, "second"))
            if missing
        ]
        same_names = "their queries have the same names, but other people or cameras"
        return " and ".join(parts) or same_names
    if one.task[1] != other.task[1]:
        return "they were searched in different galleries"
    return "one leaves out gallery images from the query's own camera, the other does not"


def _examples(names: Sequence[str], what: str) -> str:
    rest = ", ..." if len(names) > _NUM_EXAMPLES else ""
    return f"{len(names)} {what} ({', '.join(names[:_NUM_EXAMPLES])}{rest})"


def _damaged(records: RunRecords, name: str, error: Exception) -> CheckpointError:
    reason = f"{type(error).__name__}: {error}"
    return CheckpointError(
        f"{name} of {records.place} cannot be read ({reason}); evaluate the run again"
    )
