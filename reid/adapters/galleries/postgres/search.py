"""Search in PostgreSQL: statements that rank vectors, and the graph that finds candidates.

The graph is pgvector's HNSW over vectors rounded to `halfvec`, one per tenant. Its effort is chosen
for the wanted recall, which is measured when the graph is built, when the gallery has doubled, and
when it is compacted.

Letters: Q queries, D width, K answers, P probes, B rows read at once.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from pgvector import Vector
from torch import Tensor

from reid.adapters.galleries.postgres.records import PostgresRecords
from reid.adapters.galleries.postgres.transaction import PostgresTransaction
from reid.adapters.galleries.rows import neighbours_of
from reid.domain.ranking.distances import is_as_near
from reid.domain.services.gallery_checks import as_array
from reid.domain.values.features import Neighbours

LARGEST_EXPANSION = 1000  # pgvector's limit of hnsw.ef_search
_LARGEST_WIDTH = 4000  # pgvector's limit of an HNSW index over halfvec
_CONNECTIVITY = 24
_BUILD_EXPANSION = 100
_EXPANSIONS = (40, 80, 160, 320, 640, LARGEST_EXPANSION)
_NUM_PROBES = 200
_ROWS_AT_ONCE = 2000
_MEASURED_AGAIN_AT = 2  # factor of growth after which recall is measured again


@dataclass(frozen=True, slots=True)
class Walk:
    """How the graph is searched, and the recall that was last measured."""

    expansion: int
    recall: float


@dataclass(frozen=True, slots=True)
class Graph:
    """Builds the graph of a tenant and measures it."""

    records: PostgresRecords
    recall: float  # wanted share of nearest neighbours found
    exact_up_to: int  # no graph is built for so many vectors or fewer

    @property
    def name(self) -> str:
        """Name of the tenant's index."""
        tables = self.records.tables
        digest = hashlib.blake2b(tables.tenant.encode(), digest_size=6).hexdigest()
        return f"{tables.prefix}_near_{digest}"

    def walk(self, now: PostgresTransaction) -> Walk | None:
        """Read how the graph is searched; None where there is none."""
        found = now.run("select expansion, recall from {graphs} where {own}").fetchone()
        return None if found is None else Walk(*found)

    def tend(self, *, is_forced: bool = False) -> None:
        """Build a missing graph; measure it where the gallery has grown or `is_forced`."""
        with self.records.reading() as now:
            found = now.run(
                "select num_images, (fingerprint->>'width')::int, measured_at "
                "from {state} left join {graphs} using (tenant) where {own}"
            ).fetchone()
        num_images, width, measured_at = found or (0, None, None)
        if width is None or width > _LARGEST_WIDTH:
            return
        if measured_at is None and num_images <= self.exact_up_to:
            return
        if not is_forced and num_images < _MEASURED_AGAIN_AT * (measured_at or 0):
            return
        with self.records.transaction() as now:
            now.run(self.creation(width))
        with self.records.reading() as now:
            walk = self._measured(now, width)
        with self.records.transaction() as now:
            now.run(
                "insert into {graphs} (tenant, expansion, recall, measured_at) "
                "values ({tenant}, :expansion, :recall, :measured_at) "
                "on conflict (tenant) do update set (expansion, recall, measured_at) = "
                "(excluded.expansion, excluded.recall, excluded.measured_at)",
                expansion=walk.expansion,
                recall=walk.recall,
                measured_at=num_images,
            )

    def faults(self, now: PostgresTransaction) -> Iterator[str]:
        """Check that the graph in use exists and is valid."""
        text = "select indisvalid from pg_index where indexrelid = to_regclass(:name)"
        found = now.run(text, name=self.name).fetchone()
        if self.walk(now) is not None and found != (True,):
            yield f"the index {self.name} is missing or invalid: compact the gallery"

    def creation(self, width: int) -> str:
        """Return the statement that builds the graph where it is missing."""
        return (
            f'create index if not exists "{self.name}" on {{vectors}} using hnsw '
            f"((vector::halfvec({width})) halfvec_ip_ops) "
            f"with (m = {_CONNECTIVITY}, ef_construction = {_BUILD_EXPANSION}) where {{own}}"
        )

    def _measured(self, now: PostgresTransaction, width: int) -> Walk:
        """Choose the least effort that finds enough of the probes' nearest other vectors."""
        drawn = _draw_probes(now)
        if drawn is None:
            return Walk(_EXPANSIONS[0], 1.0)
        keys, probes, nearest = drawn
        statement = candidates("true", width=width)
        walk = Walk(_EXPANSIONS[-1], 1.0)
        for expansion in _EXPANSIONS:
            prepare_walk(now, expansion, num_answers=2)
            found = ask(now, statement, probes, k=2, num_candidates=20)
            others = found.distances.masked_fill(found.indices == keys[:, None], torch.inf)
            is_found = is_as_near(others.amin(dim=1), nearest)  # (P,)
            walk = Walk(expansion, float(is_found.double().mean()))
            if walk.recall >= self.recall:
                break
        return walk


def _draw_probes(now: PostgresTransaction) -> tuple[Tensor, Tensor, Tensor] | None:
    """Take evenly spread vectors, and find the distance of the nearest other one.

    Returns:
        (P,) keys, (P, D) vectors, (P,) distances; None where there are no vectors.
    """
    drawn = now.run(
        "select key, vector from (select key, vector, row_number() over (order by key) "
        "as place, count(*) over () as total from {vectors} where {own}) as numbered "
        f"where mod(place, greatest(total / {_NUM_PROBES}, 1)) = 0 limit {_NUM_PROBES}"
    ).fetchall()
    if not drawn:
        return None
    keys, probes = _columns(drawn)
    nearest = torch.full((len(keys),), torch.inf)
    with now.connection.cursor("vectors", binary=True) as cursor:
        text = "select key, vector from {vectors} where {own}"
        cursor.execute(now.tables.statement(text))
        while part := cursor.fetchmany(_ROWS_AT_ONCE):
            own, rows = _columns(part)
            away = (1 - probes @ rows.T).clamp(min=0)  # (P, B)
            away[keys[:, None] == own[None]] = torch.inf
            nearest = torch.minimum(nearest, away.amin(dim=1))
    return keys, probes, nearest


def _columns(rows: list[tuple[int, Vector]]) -> tuple[Tensor, Tensor]:
    """Convert B rows to (B,) keys and (B, D) vectors."""
    vectors = np.stack([vector.to_numpy() for _, vector in rows]).astype(np.float32)
    return torch.tensor([key for key, _ in rows]), torch.from_numpy(vectors)


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


def prepare_walk(now: PostgresTransaction, expansion: int, *, num_answers: int) -> None:
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
        now.run("select set_config(:name, :value, true)", name=name, value=value)


def ask(now: PostgresTransaction, statement: str, queries: Tensor, **values: object) -> Neighbours:
    """Run a statement with its other parameters for each of (Q, D) queries: (Q, K)."""
    answers = [now.run(statement, query=query, **values).fetchall() for query in as_array(queries)]
    return neighbours_of(answers, k=max(map(len, answers), default=0))
