"""Statements that rank vectors in PostgreSQL, and their answers.

Letters: Q queries, D width, K answers.
"""

from typing import Any

import numpy as np
from torch import Tensor

from reid.adapters.galleries.postgres.sessions import Session
from reid.adapters.galleries.tensors import neighbours_of
from reid.domain.services.gallery_checks import as_array
from reid.domain.values.ranking import Neighbours

LARGEST_EXPANSION = 1000
"""pgvector's limit of hnsw.ef_search."""


def exactly(condition: str) -> str:
    """Rank the vectors that a condition admits.

    Distances are rounded to float32; equal ones are ordered by key. The parameters are `query`,
    `k`, and those of the condition.
    """
    return _ranked(f"{{vectors}} where {{own}} and {condition}")


def candidates(condition: str, *, width: int) -> str:
    """Rank those of the admitted vectors that the graph finds; `num_candidates` is a parameter."""
    return _ranked(
        f"(select key, vector from {{vectors}} where {{own}} and {condition} "
        f"order by (vector::halfvec({width})) <#> (:query::halfvec({width})) "
        "limit :num_candidates) as near"
    )


def _ranked(rows: str) -> str:
    return (
        "select key, greatest(1 + (vector <#> :query), 0)::real as distance "
        f"from {rows} order by distance, key limit :k"
    )


def prepare_walk(session: Session, expansion: int, *, num_answers: int) -> None:
    """Set how the graph is searched until the transaction ends."""
    settings = {
        "hnsw.ef_search": str(min(LARGEST_EXPANSION, max(expansion, 2 * num_answers))),
        "hnsw.iterative_scan": "relaxed_order",
        "hnsw.max_scan_tuples": "200000",
        # The planner would rather sort few rows, and underestimates the cost: each vector lies in a
        # page of its own.
        "enable_seqscan": "off",
        "enable_sort": "off",
    }
    for name, value in settings.items():
        session.run("select set_config(:name, :value, true)", name=name, value=value)


def ask(session: Session, statement: str, queries: Tensor, **values: object) -> Neighbours:
    """Run a statement with its other parameters for each of (Q, D) queries: (Q, K)."""
    answers = [
        session.run(statement, query=query, **values).fetchall() for query in as_array(queries)
    ]
    return neighbours_of(answers, k=max(map(len, answers), default=0))


def as_vector(value: Any) -> np.ndarray:  # noqa: ANN401  (pgvector's, or numpy's by its version)
    """Convert a vector that the server returned to (D,) float32."""
    values = value if isinstance(value, np.ndarray) else value.to_numpy()
    return np.array(values, dtype=np.float32)
