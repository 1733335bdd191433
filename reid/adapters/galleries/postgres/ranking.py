"""Statements that rank vectors in PostgreSQL, and their answers.

Letters: Q queries, D width, K answers.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from psycopg.sql import Composed
from torch import Tensor

from reid.adapters.galleries.postgres.sessions import Connection
from reid.adapters.galleries.postgres.tables import Tables
from reid.domain.services.gallery_checks import as_array
from reid.domain.values.ranking import Neighbours

LARGEST_EXPANSION = 1000
"""pgvector's limit of hnsw.ef_search."""


def exactly(tables: Tables, condition: str) -> Composed:
    """Rank the vectors that a condition admits.

    Distances are rounded to float32; equal ones are ordered by key. The parameters are `query`,
    `k`, and those of the condition.
    """
    return _ranked(tables, f"{{vectors}} where {{own}} and {condition}")


def candidates(tables: Tables, condition: str, *, width: int) -> Composed:
    """Rank those of the admitted vectors that the graph finds; `num_candidates` is a parameter."""
    return _ranked(
        tables,
        f"(select key, vector from {{vectors}} where {{own}} and {condition} "
        f"order by (vector::halfvec({width})) <#> (:query::halfvec({width})) "
        "limit :num_candidates) as near",
    )


def _ranked(tables: Tables, rows: str) -> Composed:
    return tables.statement(
        "select key, greatest(1 + (vector <#> :query), 0)::real as distance "
        f"from {rows} order by distance, key limit :k"
    )


def prepare_walk(connection: Connection, expansion: int, *, num_answers: int) -> None:
    """Set how the graph is searched until the transaction ends."""
    wide = min(LARGEST_EXPANSION, max(expansion, 2 * num_answers))
    for setting, value in (
        ("hnsw.ef_search", str(wide)),
        ("hnsw.iterative_scan", "relaxed_order"),
        ("hnsw.max_scan_tuples", "200000"),
        # The planner would rather sort few rows, and underestimates the cost: each vector lies in a
        # page of its own.
        ("enable_seqscan", "off"),
        ("enable_sort", "off"),
    ):
        connection.execute("select set_config(%s, %s, true)", [setting, value])


def ask(
    connection: Connection, statement: Composed, queries: Tensor, *, values: Mapping[str, Any]
) -> Neighbours:
    """Run a statement for each of (Q, D) queries.

    Returns:
        (Q, K) keys and distances, -1 and infinity where fewer were found; K is `values["k"]`, or
        less where no query has so many.
    """
    found = [
        connection.execute(statement, {**values, "query": query}).fetchall()
        for query in as_array(queries)
    ]
    num_columns = max(map(len, found), default=0)
    indices = torch.full((len(queries), num_columns), -1)  # (Q, K)
    distances = torch.full((len(queries), num_columns), torch.inf)  # (Q, K)
    for row, answers in enumerate(found):
        indices[row, : len(answers)] = torch.tensor([key for key, _ in answers], dtype=torch.int64)
        distances[row, : len(answers)] = torch.tensor([away for _, away in answers])
    return Neighbours(indices=indices, distances=distances)


def as_vector(value: Any) -> np.ndarray:  # noqa: ANN401  (pgvector's, or numpy's by its version)
    """Convert a vector that the server returned to (D,) float32."""
    values = value if isinstance(value, np.ndarray) else value.to_numpy()
    return np.array(values, dtype=np.float32)
