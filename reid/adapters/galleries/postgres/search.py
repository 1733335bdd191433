"""Ranking in PostgreSQL: exactly, or by the graph of a tenant that has outgrown that.

Up to a stated number of images of a tenant, and where a filter admits no more than that, vectors
are compared exactly; beyond, an HNSW graph over float16 finds candidates, which are compared
exactly. Its effort is chosen for the wanted recall, which is measured when the graph is built, when
the gallery has doubled, and when it is compacted.

Letters: Q queries, D width, K answers, P probes, B rows read at once.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from psycopg.sql import SQL, Literal
from torch import Tensor

from reid.adapters.galleries.postgres.sessions import Connection, Sessions, State
from reid.adapters.galleries.postgres.tables import (
    LARGEST_EXPANSION,
    LARGEST_INDEXED_WIDTH,
    Tables,
    condition_of,
)
from reid.domain.values.galleries import EVERYTHING, GalleryFilter
from reid.domain.values.ranking import Neighbours

_EXPANSIONS = (40, 80, 160, 320, 640, LARGEST_EXPANSION)
_NUM_PROBES = 200
_ROWS_AT_ONCE = 2000
_MEASURED_AGAIN_AT = 2
"""Factor of growth after which recall is measured again."""

_SAME_DISTANCE = 1e-6


class RowSearch:
    """Ranks the rows of a tenant, and looks after the graph that helps."""

    def __init__(
        self, sessions: Sessions, tables: Tables, *, recall: float, exact_up_to: int
    ) -> None:
        """Keep the parts.

        Args:
            sessions: With the server.
            tables: Of the gallery, and whose rows of them.
            recall: Wanted share of nearest neighbours found where a graph is searched.
            exact_up_to: Images of the tenant up to which no graph is used.
        """
        self._sessions = sessions
        self._tables = tables
        self._wanted_recall = recall
        self._exact_up_to = exact_up_to

    def rank(
        self,
        connection: Connection,
        state: State,
        queries: Tensor,
        k: int,
        *,
        within: GalleryFilter,
    ) -> Neighbours:
        """Rank what a transaction sees; (Q, D) queries, k at most the images kept."""
        admitted, values = condition_of(within)
        is_exact = (
            state.expansion is None
            or 2 * k > LARGEST_EXPANSION
            or self._admits_few(connection, within)
        )
        if not is_exact:
            _prepare_walk(connection, state.expansion or 0, num_answers=k)
        statement = self._tables.nearest(
            width=queries.shape[1], is_exact=is_exact, admitted=admitted
        )
        values |= {"k": k, "num_candidates": 2 * k}
        return _ask(connection, statement, queries, values=values, num_answers=k)

    def tend_graph(self, *, is_forced: bool = False) -> None:
        """Build the graph where it is missing, and measure where it has grown."""
        state = self._sessions.state()
        encoder = state.encoder
        if encoder is None or encoder.width > LARGEST_INDEXED_WIDTH:
            return
        if state.expansion is None and state.num_images <= self._exact_up_to:
            return
        measured_at = state.measured_at or 0
        if not is_forced and state.num_images < _MEASURED_AGAIN_AT * measured_at:
            return
        with self._sessions.writing() as connection:
            connection.execute(self._tables.create_graph(encoder.width))
        with self._sessions.reading() as connection:
            expansion, recall = self._measure(connection, encoder.width)
        with self._sessions.writing() as connection:
            connection.execute(
                self._tables.statement(
                    "update {state} set expansion = %s, recall = %s, measured_at = num_images "
                    "where {own}"
                ),
                [expansion, recall],
            )

    def _admits_few(self, connection: Connection, within: GalleryFilter) -> bool:
        """Whether a filter leaves no more than is compared exactly."""
        if within == EVERYTHING:
            return False
        admitted, values = condition_of(within)
        statement = self._tables.statement(
            "select count(*) from (select from {images} where {own} and {admitted} "
            "limit %(most)s) as looked_at",
            admitted=admitted,
        )
        row = connection.execute(statement, values | {"most": self._exact_up_to + 1}).fetchone()
        return row is None or row[0] <= self._exact_up_to

    def _measure(self, connection: Connection, width: int) -> tuple[int, float]:
        """Choose the least effort that finds enough of the probes' nearest other images.

        Of no images nothing is missed.
        """
        drawn = self._draw_probes(connection)
        if drawn is None:
            return _EXPANSIONS[0], 1.0
        keys, probes, nearest = drawn
        statement = self._tables.nearest(width=width, is_exact=False, admitted=SQL("true"))
        expansion, recall = _EXPANSIONS[-1], 1.0
        for expansion in _EXPANSIONS:
            _prepare_walk(connection, expansion, num_answers=2)
            found = _ask(
                connection,
                statement,
                probes,
                values={"k": 2, "num_candidates": 20},
                num_answers=2,
            )
            others = found.distances.masked_fill(found.indices == keys[:, None], torch.inf)
            recall = float((others.amin(dim=1) <= nearest + _SAME_DISTANCE).double().mean())
            if recall >= self._wanted_recall:
                break
        return expansion, recall

    def _draw_probes(self, connection: Connection) -> tuple[Tensor, Tensor, Tensor] | None:
        """Take images, evenly spread, and find how near the nearest other one is.

        Returns:
            (P,) keys, (P, D) vectors, (P,) distances; None where there are no images.
        """
        drawn = connection.execute(
            self._tables.statement(
                "select key, vector from (select key, vector, row_number() over (order by key) "
                "as place, count(*) over () as total from {images} where {own}) as numbered "
                "where place %% greatest(total / %s, 1) = 0 limit %s"
            ),
            [_NUM_PROBES, _NUM_PROBES],
            binary=True,
        ).fetchall()
        if not drawn:
            return None
        keys = torch.tensor([key for key, _ in drawn])
        probes = torch.from_numpy(np.stack([as_array(vector) for _, vector in drawn]))
        nearest = torch.full((len(keys),), torch.inf)
        for part in _batches(each_vector(connection, self._tables)):
            own = torch.tensor([key for key, _, _ in part])
            rows = torch.from_numpy(np.stack([vector for _, vector, _ in part]))
            away = (1 - probes @ rows.T).clamp(min=0)  # (P, B)
            away[keys[:, None] == own[None]] = torch.inf
            nearest = torch.minimum(nearest, away.amin(dim=1))
        return keys, probes, nearest


def each_vector(connection: Connection, tables: Tables) -> Iterator[tuple[int, np.ndarray, int]]:
    """Read keys, (D,) vectors and their checksums, a few thousand at a time."""
    with connection.cursor("vectors", binary=True) as rows:
        rows.itersize = _ROWS_AT_ONCE
        rows.execute(tables.statement("select key, vector, checksum from {images} where {own}"))
        for key, vector, checksum in rows:
            yield key, as_array(vector), checksum


def _prepare_walk(connection: Connection, expansion: int, *, num_answers: int) -> None:
    """Set how the graph is searched until the transaction ends."""
    wide = min(LARGEST_EXPANSION, max(expansion, 2 * num_answers))
    for setting in (
        SQL("set local hnsw.ef_search = {}").format(Literal(wide)),
        SQL("set local hnsw.iterative_scan = relaxed_order"),
        SQL("set local hnsw.max_scan_tuples = 200000"),
        # Of few rows the planner would rather sort all, which costs what it does not expect:
        # each vector lies in a page of its own.
        SQL("set local enable_seqscan = off"),
        SQL("set local enable_sort = off"),
    ):
        connection.execute(setting)


def _ask(
    connection: Connection,
    statement: Any,  # noqa: ANN401  (a composed statement)
    queries: Tensor,
    *,
    values: dict[str, object],
    num_answers: int,
) -> Neighbours:
    """Run a statement per query; keys and distances, -1 and infinity where there are fewer."""
    indices = torch.full((len(queries), num_answers), -1)  # (Q, K)
    found = torch.full((len(queries), num_answers), torch.inf)  # (Q, K)
    for row, query in enumerate(queries.detach().cpu().float().numpy()):
        answers = connection.execute(statement, values | {"query": query}).fetchall()
        indices[row, : len(answers)] = torch.tensor([key for key, _ in answers], dtype=torch.int64)
        found[row, : len(answers)] = torch.tensor([away for _, away in answers])
    return Neighbours(indices=indices, distances=found)


def as_array(vector: Any) -> np.ndarray:  # noqa: ANN401  (pgvector's, or numpy's by its version)
    """See what the server gave for a vector as (D,) float32."""
    values = vector if isinstance(vector, np.ndarray) else vector.to_numpy()
    return np.array(values, dtype=np.float32)


def _batches(
    rows: Iterator[tuple[int, np.ndarray, int]],
) -> Iterator[list[tuple[int, np.ndarray, int]]]:
    batch: list[tuple[int, np.ndarray, int]] = []
    for row in rows:
        batch.append(row)
        if len(batch) == _ROWS_AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch
