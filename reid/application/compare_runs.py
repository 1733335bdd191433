"""Compare two recorded evaluations query by query."""

from collections.abc import Sequence
from dataclasses import dataclass

from reid.application.records import RecordedEvaluation, read_with_queries, scores_of
from reid.domain.errors import EvaluationError
from reid.domain.ranking.metrics import QueryScores
from reid.domain.ranking.significance import compare_scores
from reid.domain.values.comparisons import ComparedEvaluation, ComparisonOutcome
from reid.domain.values.evaluations import EvaluationRecord, QueryRecord

_NUM_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class JudgedQueries:
    """An evaluation with the scores of its queries."""

    source: RecordedEvaluation
    record: EvaluationRecord
    queries: QueryRecord

    @classmethod
    def of(cls, source: RecordedEvaluation) -> "JudgedQueries":
        """Read it; raise a CheckpointError if it is missing or damaged."""
        return cls(source, *read_with_queries(source))

    @property
    def scores(self) -> QueryScores:
        """Scores of each query."""
        return scores_of(self.queries)

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


class CompareRuns:
    """Compares recorded evaluations; nothing is embedded or ranked again."""

    def __init__(self, *, seed: int) -> None:
        """Keep the seed of the draws."""
        self._seed = seed

    def run(self, first: RecordedEvaluation, second: RecordedEvaluation) -> ComparisonOutcome:
        """Compare two evaluations of the same queries.

        Raises:
            CheckpointError: A record is missing or damaged.
            EvaluationError: They are evaluations of different things.
        """
        one, other = JudgedQueries.of(first), JudgedQueries.of(second)
        if one.task != other.task:
            raise EvaluationError(
                f"{first.name} of {first.records.place} and {second.name} of "
                f"{second.records.place} do not compare: {_difference(one, other)}; evaluate both "
                "runs on the same data"
            )
        (differences,) = compare_scores([(one.scores, other.scores)], seed=self._seed)
        return ComparisonOutcome(
            first=ComparedEvaluation(run=first.records.place, evaluation=first.name),
            second=ComparedEvaluation(run=second.records.place, evaluation=second.name),
            dataset=one.record.dataset,
            num_queries=one.record.report.num_valid_queries,
            differences=differences,
            seed=self._seed,
        )


def _difference(one: JudgedQueries, other: JudgedQueries) -> str:
    """Describe the first difference of two tasks."""
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
