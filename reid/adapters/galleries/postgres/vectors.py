"""Vectors of a gallery in PostgreSQL with pgvector, in the transactions of its records.

Vectors are pgvector's `vector`, float32 to the bit. A tenant's vectors up to a given number, and
those that a filter leaves up to that number, are all compared; beyond it, a graph finds candidates,
which are then compared exactly.

Letters: Q queries, D width, K answers.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reid.adapters.galleries.filters import condition_of
from reid.adapters.galleries.postgres.graph import Graph, Walk
from reid.adapters.galleries.postgres.ranking import (
    LARGEST_EXPANSION,
    as_vector,
    ask,
    candidates,
    exactly,
    prepare_walk,
)
from reid.adapters.galleries.postgres.sessions import Connection, Sessions
from reid.adapters.galleries.postgres.tables import Tables
from reid.adapters.galleries.upkeep import WithoutUpkeep
from reid.domain.errors import GalleryError
from reid.domain.services.gallery_checks import as_array
from reid.domain.values.galleries import EVERYTHING, GalleryFilter, KeptImage
from reid.domain.values.ranking import Neighbours


class PostgresVectors(WithoutUpkeep):
    """Keeps vectors of one tenant, with what filters need; behind the port.

    They change with the records or not at all, so there is one state and nothing is left over. They
    leave traces only where the records do. The sessions are the records' to close.
    """

    filters = True

    def __init__(
        self, sessions: Sessions, tables: Tables, *, recall: float, exact_up_to: int
    ) -> None:
        """Keep sessions and tables, both those of the records; the rest is for the graph."""
        self._sessions = sessions
        self._tables = tables
        self._exact_up_to = exact_up_to
        self._graph = Graph(sessions, tables, recall=recall, exact_up_to=exact_up_to)

    @property
    def is_exact(self) -> bool:
        """Whether no graph is used."""
        with self._sessions.reading() as connection:
            return self._graph.walk(connection) is None

    def view(self, state: str) -> "PostgresView":  # noqa: ARG002
        """See what the transaction sees."""
        connection = self._sessions.current
        walk = self._graph.walk(connection)
        return PostgresView(connection, self._tables, walk=walk, exact_up_to=self._exact_up_to)

    def add(self, state: str, images: Sequence[KeptImage], vectors: Tensor) -> str:
        """Insert rows."""
        statement = self._tables.statement(
            "insert into {vectors} (tenant, key, label, camera, added_at, vector) "
            "values ({tenant}, %s, %s, %s, %s, %b)"
        )
        with self._sessions.current.cursor() as cursor:
            cursor.executemany(
                statement,
                (
                    (one.key, one.label, one.camera, one.added_at, vector)
                    for one, vector in zip(images, as_array(vectors), strict=True)
                ),
            )
        return state

    def drop(self, state: str, keys: Sequence[int]) -> str:
        """Delete rows."""
        statement = "delete from {vectors} where {own} and key = any(%s)"
        self._sessions.current.execute(self._tables.statement(statement), [list(keys)])
        return state

    def settle(self) -> None:
        """Build the graph where it is missing, and measure recall where it has grown."""
        self._graph.tend()

    def reclaim(self, *, is_thorough: bool) -> None:
        """Vacuum the table; thoroughly: rewrite it, which locks it, and measure recall again."""
        how = "full, analyze" if is_thorough else "index_cleanup on, truncate on"
        self._sessions.run(self._tables.statement(f"vacuum ({how}) {{vectors}}"))
        if is_thorough:
            self._graph.tend(is_forced=True)

    def faults(self, state: str) -> Iterator[str]:  # noqa: ARG002
        """Look at widths, and at the graph."""
        connection = self._sessions.current
        widths = connection.execute(
            self._tables.statement(
                "select key, vector_dims(vector) from {vectors} where {own} and "
                "vector_dims(vector) <> "
                "(select (fingerprint->>'width')::int from {state} where {own})"
            )
        ).fetchall()
        yield from self._graph.faults(connection)
        for key, width in widths:
            yield f"the vector of image {key} has width {width}: remove the image"


class PostgresView:
    """Vectors as a transaction sees them."""

    is_ready = True

    def __init__(
        self, connection: Connection, tables: Tables, *, walk: Walk | None, exact_up_to: int
    ) -> None:
        """Keep the parts; without a `walk` there is no graph."""
        self._connection = connection
        self._tables = tables
        self._walk = walk
        self._exact_up_to = exact_up_to

    @property
    def recall(self) -> float:
        """As measured last; 1 where no graph is used."""
        return 1.0 if self._walk is None else self._walk.recall

    def of(self, keys: Sequence[int]) -> Tensor:
        """Look up vectors; see the port."""
        statement = "select key, vector from {vectors} where {own} and key = any(%s)"
        rows = self._connection.execute(
            self._tables.statement(statement), [list(keys)], binary=True
        )
        found = {key: as_vector(vector) for key, vector in rows}
        missing = next((key for key in keys if key not in found), None)
        if missing is not None:
            raise GalleryError(f"the gallery is damaged: image {missing} has no vector; remove it")
        if not keys:
            return torch.empty((0, 0))
        width = Counter(len(vector) for vector in found.values()).most_common(1)[0][0]
        for key, vector in found.items():
            if len(vector) != width:
                raise GalleryError(
                    f"the gallery is damaged: the vector of image {key} has width "
                    f"{len(vector)}, others have {width}: remove the image"
                )
        return torch.from_numpy(np.stack([found[key] for key in keys]))

    def nearest(self, queries: Tensor, k: int, *, within: GalleryFilter) -> Neighbours:
        """Rank what a filter admits, exactly or by the graph."""
        condition, values = condition_of(within)
        if self._walk is None or 2 * k > LARGEST_EXPANSION or self._admits_few(within):
            return self._ask(queries, k, condition, values=values)
        prepare_walk(self._connection, self._walk.expansion, num_answers=k)
        statement = candidates(self._tables, condition, width=queries.shape[1])
        limits = {"k": k, "num_candidates": 2 * k}
        return ask(self._connection, statement, queries, values=values | limits)

    def among(self, queries: Tensor, k: int, *, keys: Sequence[int]) -> Neighbours:
        """Rank some, exactly."""
        return self._ask(queries, k, "key among :keys", values={"keys": list(keys)})

    def _ask(
        self, queries: Tensor, k: int, condition: str, *, values: Mapping[str, Any]
    ) -> Neighbours:
        statement = exactly(self._tables, condition)
        return ask(self._connection, statement, queries, values={**values, "k": k})

    def _admits_few(self, within: GalleryFilter) -> bool:
        """Whether a filter leaves no more than is compared exactly."""
        if within == EVERYTHING:
            return False
        condition, values = condition_of(within)
        statement = self._tables.statement(
            f"select count(*) from (select from {{vectors}} where {{own}} and {condition} "
            f"limit {self._exact_up_to + 1}) as looked_at"
        )
        row = self._connection.execute(statement, values).fetchone()
        return row is None or row[0] <= self._exact_up_to
