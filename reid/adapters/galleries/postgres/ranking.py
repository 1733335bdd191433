"""Statements that rank vectors in PostgreSQL, and their answers.

Letters: Q queries, D width, K answers.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from psycopg.sql import SQL, Composed
from torch import Tensor

from reid.adapters.galleries.postgres.sessions import Connection
from reid.domain.services.gallery_checks import as_array
from reid.domain.values.ranking import Neighbours


def exactly(rows: Composed) -> Composed:
    """Rank rows by distance, rounded to float32, then by key; `query` and `k` are parameters."""
    return SQL(
        "select key, greatest(1 + (vector <#> %(query)b), 0)::real as distance from {} "
        "order by distance, key limit %(k)s"
    ).format(rows)


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
