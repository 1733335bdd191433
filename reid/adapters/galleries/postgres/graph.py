"""The graph that finds candidates among the vectors of a large tenant.

It is pgvector's HNSW over vectors rounded to `halfvec`, one per tenant. Its effort is chosen for
the wanted recall, which is measured when the graph is built, when the gallery has doubled, and when
it is compacted.

Letters: D width, P probes, B rows read at once.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from psycopg.sql import Composed, Identifier
from torch import Tensor

from reid.adapters.galleries.postgres.ranking import (
    LARGEST_EXPANSION,
    as_vector,
    ask,
    candidates,
    prepare_walk,
)
from reid.adapters.galleries.postgres.sessions import Connection, Sessions
from reid.adapters.galleries.postgres.tables import Tables

_LARGEST_WIDTH = 4000
"""pgvector's limit of an HNSW index over halfvec."""

_CONNECTIVITY = 24
_BUILD_EXPANSION = 100
_EXPANSIONS = (40, 80, 160, 320, 640, LARGEST_EXPANSION)
_NUM_PROBES = 200
_ROWS_AT_ONCE = 2000
_MEASURED_AGAIN_AT = 2
"""Factor of growth after which recall is measured again."""

_SAME_DISTANCE = 1e-6


@dataclass(frozen=True, slots=True)
class Walk:
    """How the graph is searched, and the recall that was last measured."""

    expansion: int
    recall: float


class Graph:
    """Builds the graph of a tenant and measures it."""

    def __init__(
        self, sessions: Sessions, tables: Tables, *, recall: float, exact_up_to: int
    ) -> None:
        """Keep the parts; no graph is built for a tenant of `exact_up_to` vectors or fewer."""
        self._sessions = sessions
        self._tables = tables
        self._wanted_recall = recall
        self._exact_up_to = exact_up_to

    @property
    def name(self) -> str:
        """Name of the tenant's index."""
        digest = hashlib.blake2b(self._tables.tenant.encode(), digest_size=6).hexdigest()
        return f"{self._tables.prefix}_near_{digest}"

    def walk(self, connection: Connection) -> Walk | None:
        """Read how the graph is searched; None where there is none."""
        statement = self._tables.statement("select expansion, recall from {graphs} where {own}")
        found = connection.execute(statement).fetchone()
        return None if found is None else Walk(*found)

    def tend(self, *, is_forced: bool = False) -> None:
        """Build a missing graph; measure it where the gallery has grown or `is_forced`."""
        with self._sessions.reading() as connection:
            found = connection.execute(
                self._tables.statement(
                    "select num_images, (fingerprint->>'width')::int, measured_at "
                    "from {state} left join {graphs} using (tenant) where {own}"
                )
            ).fetchone()
        num_images, width, measured_at = found or (0, None, None)
        if width is None or width > _LARGEST_WIDTH:
            return
        if measured_at is None and num_images <= self._exact_up_to:
            return
        if not is_forced and num_images < _MEASURED_AGAIN_AT * (measured_at or 0):
            return
        with self._sessions.transaction() as connection:
            connection.execute(self.creation(width))
        with self._sessions.reading() as connection:
            walk = self._measured(connection, width)
        with self._sessions.transaction() as connection:
            connection.execute(
                self._tables.statement(
                    "insert into {graphs} (tenant, expansion, recall, measured_at) "
                    "values ({tenant}, %s, %s, %s) on conflict (tenant) do update set "
                    "(expansion, recall, measured_at) = "
                    "(excluded.expansion, excluded.recall, excluded.measured_at)"
                ),
                [walk.expansion, walk.recall, num_images],
            )

    def faults(self, connection: Connection) -> Iterator[str]:
        """Check that the graph in use exists and is valid."""
        statement = "select indisvalid from pg_index where indexrelid = to_regclass(%s)"
        found = connection.execute(statement, [self.name]).fetchone()
        if self.walk(connection) is not None and found != (True,):
            yield f"the index {self.name} is missing or invalid: compact the gallery"

    def creation(self, width: int) -> Composed:
        """Return the statement that builds the graph where it is missing."""
        return self._tables.statement(
            "create index if not exists {name} on {vectors} using hnsw "
            f"((vector::halfvec({width})) halfvec_ip_ops) "
            f"with (m = {_CONNECTIVITY}, ef_construction = {_BUILD_EXPANSION}) where {{own}}",
            name=Identifier(self.name),
        )

    def _measured(self, connection: Connection, width: int) -> Walk:
        """Choose the least effort that finds enough of the probes' nearest other vectors."""
        drawn = self._draw_probes(connection)
        if drawn is None:
            return Walk(_EXPANSIONS[0], 1.0)
        keys, probes, nearest = drawn
        statement = candidates(self._tables, "true", width=width)
        walk = Walk(_EXPANSIONS[-1], 1.0)
        for expansion in _EXPANSIONS:
            prepare_walk(connection, expansion, num_answers=2)
            found = ask(connection, statement, probes, k=2, num_candidates=20)
            others = found.distances.masked_fill(found.indices == keys[:, None], torch.inf)
            is_found = others.amin(dim=1) <= nearest + _SAME_DISTANCE  # (P,)
            walk = Walk(expansion, float(is_found.double().mean()))
            if walk.recall >= self._wanted_recall:
                break
        return walk

    def _draw_probes(self, connection: Connection) -> tuple[Tensor, Tensor, Tensor] | None:
        """Take evenly spread vectors, and find the distance of the nearest other one.

        Returns:
            (P,) keys, (P, D) vectors, (P,) distances; None where there are no vectors.
        """
        drawn = connection.execute(
            self._tables.statement(
                "select key, vector from (select key, vector, row_number() over (order by key) "
                "as place, count(*) over () as total from {vectors} where {own}) as numbered "
                f"where mod(place, greatest(total / {_NUM_PROBES}, 1)) = 0 limit {_NUM_PROBES}"
            ),
            binary=True,
        ).fetchall()
        if not drawn:
            return None
        keys, probes = _columns(drawn)
        nearest = torch.full((len(keys),), torch.inf)
        with connection.cursor("vectors", binary=True) as cursor:
            cursor.execute(self._tables.statement("select key, vector from {vectors} where {own}"))
            while part := cursor.fetchmany(_ROWS_AT_ONCE):
                own, rows = _columns(part)
                away = (1 - probes @ rows.T).clamp(min=0)  # (P, B)
                away[keys[:, None] == own[None]] = torch.inf
                nearest = torch.minimum(nearest, away.amin(dim=1))
        return keys, probes, nearest


def _columns(rows: list[tuple[int, object]]) -> tuple[Tensor, Tensor]:
    """Convert B rows to (B,) keys and (B, D) vectors."""
    vectors = np.stack([as_vector(vector) for _, vector in rows])
    return torch.tensor([key for key, _ in rows]), torch.from_numpy(vectors)
