"""Read what runs recorded of their evaluations."""

from collections.abc import Mapping
from typing import Any

import torch

from reid.domain.errors import CheckpointError
from reid.domain.metrics import QueryScores
from reid.domain.values.checkpoints import require_known_version
from reid.domain.values.evaluations import (
    EVALUATION,
    QUERIES_SUFFIX,
    RECORD_VERSION,
    EvaluationRecord,
    QueryRecord,
)
from reid.ports.records import RunRecords


def require_manifest(records: RunRecords) -> Mapping[str, Any]:
    """Return what a run was begun with.

    Raises:
        CheckpointError: No run was begun there, or the manifest is damaged.
    """
    manifest = records.manifest()
    if manifest is None:
        raise CheckpointError(
            f"{records.place} holds no run: name the folder that reid train --run made"
        )
    return manifest


def evaluation_names(records: RunRecords) -> tuple[str, ...]:
    """Name the evaluations that a run recorded; its own first."""
    found = [
        name
        for name in records.names()
        if name == EVALUATION or name.startswith(f"{EVALUATION}-")
        if not name.endswith(QUERIES_SUFFIX)
    ]
    return tuple(sorted(found))


def read_evaluation(records: RunRecords, name: str = EVALUATION) -> EvaluationRecord:
    """Read an evaluation, of an older program too.

    Raises:
        CheckpointError: There is no run, it has none of that name, or it is damaged.
    """
    content = records.report(name)
    if content is None:
        require_manifest(records)
        raise _absent(records, name)
    place = f"{name} of {records.place}"
    require_known_version(content.get("version"), known=RECORD_VERSION, place=place)
    try:
        return EvaluationRecord.parse(name, content)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if name not in evaluation_names(records):
            raise _absent(records, name) from error
        raise _damaged(records, name, error) from error


def require_complete(records: RunRecords, record: EvaluationRecord) -> EvaluationRecord:
    """Hand on a record that says what it is of.

    Raises:
        CheckpointError: It was written before digests were kept.
    """
    if not record.is_complete:
        raise CheckpointError(
            f"{record.name} of {records.place} was recorded by an older version, without digests "
            "of data and weights; record it anew by "
            f"reid evaluate --run {records.place} --data ROOT"
        )
    return record


def read_queries(records: RunRecords, record: EvaluationRecord) -> QueryRecord:
    """Read how each query of an evaluation fared.

    Raises:
        CheckpointError: That was not recorded, is damaged, or belongs to another evaluation.
    """
    require_complete(records, record)
    name = f"{record.name}{QUERIES_SUFFIX}"
    content = records.report(name)
    if content is None:
        raise CheckpointError(
            f"{records.place} does not say how each query fared ({name}.json is missing); record "
            f"it anew by reid evaluate --run {records.place} --data ROOT"
        )
    queries = _parse_queries(records, name, content)
    recorded = (record.digest_of("query"), record.weights_digest)
    if (queries.query_digest, queries.weights_digest) != recorded:
        raise CheckpointError(
            f"{name} of {records.place} belongs to another evaluation than {record.name}; record "
            f"both anew by reid evaluate --run {records.place} --data ROOT"
        )
    return queries


def scores_of(queries: QueryRecord) -> QueryScores:
    """Put recorded scores as the domain computes with them."""
    return QueryScores(
        average_precision=torch.tensor(queries.average_precision, dtype=torch.float64),
        inverse_negative_penalty=torch.tensor(
            queries.inverse_negative_penalty, dtype=torch.float64
        ),
        first_match_rank=torch.tensor(queries.first_match_rank, dtype=torch.int64),
        num_matches=torch.tensor(queries.num_matches, dtype=torch.int64),
    )


def _parse_queries(records: RunRecords, name: str, content: Mapping[str, Any]) -> QueryRecord:
    try:
        return QueryRecord(**content)
    except (TypeError, ValueError) as error:
        raise _damaged(records, name, error) from error


def _absent(records: RunRecords, name: str) -> CheckpointError:
    others = ", ".join(evaluation_names(records)) or "none"
    return CheckpointError(
        f"{records.place} holds no evaluation called {name!r} (there is: {others}); evaluate "
        f"the run by reid evaluate --run {records.place}"
    )


def _damaged(records: RunRecords, name: str, error: Exception) -> CheckpointError:
    reason = f"{type(error).__name__}: {error}"
    return CheckpointError(
        f"{name}.json of {records.place} cannot be read ({reason}); record it anew by "
        f"reid evaluate --run {records.place} --data ROOT"
    )
