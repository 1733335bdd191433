"""Compare two recorded evaluations query by query."""

from collections.abc import Sequence

from reid.application.records import JudgedQueries, RecordedEvaluation
from reid.domain.errors import EvaluationError
from reid.domain.ranking.significance import compare_scores
from reid.domain.values.comparisons import ComparedEvaluation, ComparisonOutcome

_NUM_EXAMPLES = 3


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
