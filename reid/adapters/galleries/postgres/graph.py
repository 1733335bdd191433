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
from torch import Tensor

from reid.adapters.galleries.postgres.ranking import (
    LARGEST_EXPANSION,
    as_vector,
    ask,
    candidates,
    prepare_walk,
)
from reid.adapters.galleries.postgres.sessions import Session, Sessions
from reid.domain.ranking.distances import is_as_near

_LARGEST_WIDTH = 4000
"""pgvector's limit of an HNSW index over halfvec."""

_CONNECTIVITY = 24
_BUILD_EXPANSION = 100
_EXPANSIONS = (40, 80, 160, 320, 640, LARGEST_EXPANSION)
_NUM_PROBES = 200
_ROWS_AT_ONCE = 2000
_MEASURED_AGAIN_AT = 2
"""Factor of growth after which recall is measured again."""


@dataclass(frozen=True, slots=True)
class Walk:
    """How the graph is searched, and the recall that was last measured."""

    expansion: int
    recall: float


@dataclass(frozen=True, slots=True)
class Graph:
    """Builds the graph of a tenant and measures it."""

    sessions: Sessions
    recall: float
    """Wanted share of nearest neighbours found."""

    exact_up_to: int
    """No graph is built for so many vectors or fewer."""

    @property
    def name(self) -> str:
        """Name of the tenant's index."""
        tables = self.sessions.tables
        digest = hashlib.blake2b(tables.tenant.encode(), digest_size=6).hexdigest()
        return f"{tables.prefix}_near_{digest}"

    def walk(self, session: Session) -> Walk | None:
        """Read how the graph is searched; None where there is none."""
        found = session.run("select expansion, recall from {graphs} where {own}").fetchone()
        return None if found is None else Walk(*found)

    def tend(self, *, is_forced: bool = False) -> None:
        """Build a missing graph; measure it where the gallery has grown or `is_forced`."""
        with self.sessions.reading() as session:
            found = session.run(
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
        with self.sessions.transaction() as session:
            session.run(self.creation(width))
        with self.sessions.reading() as session:
            walk = self._measured(session, width)
        with self.sessions.transaction() as session:
            session.run(
                "insert into {graphs} (tenant, expansion, recall, measured_at) "
                "values ({tenant}, :expansion, :recall, :measured_at) "
                "on conflict (tenant) do update set (expansion, recall, measured_at) = "
                "(excluded.expansion, excluded.recall, excluded.measured_at)",
                expansion=walk.expansion,
                recall=walk.recall,
                measured_at=num_images,
            )

    def faults(self, session: Session) -> Iterator[str]:
        """Check that the graph in use exists and is valid."""
        text = "select indisvalid from pg_index where indexrelid = to_regclass(:name)"
        found = session.run(text, name=self.name).fetchone()
        if self.walk(session) is not None and found != (True,):
            yield f"the index {self.name} is missing or invalid: compact the gallery"

    def creation(self, width: int) -> str:
        """Return the statement that builds the graph where it is missing."""
        return (
            f'create index if not exists "{self.name}" on {{vectors}} using hnsw '
            f"((vector::halfvec({width})) halfvec_ip_ops) "
            f"with (m = {_CONNECTIVITY}, ef_construction = {_BUILD_EXPANSION}) where {{own}}"
        )

    def _measured(self, session: Session, width: int) -> Walk:
        """Choose the least effort that finds enough of the probes' nearest other vectors."""
        drawn = _draw_probes(session)
        if drawn is None:
            return Walk(_EXPANSIONS[0], 1.0)
        keys, probes, nearest = drawn
        statement = candidates("true", width=width)
        walk = Walk(_EXPANSIONS[-1], 1.0)
        for expansion in _EXPANSIONS:
            prepare_walk(session, expansion, num_answers=2)
            found = ask(session, statement, probes, k=2, num_candidates=20)
            others = found.distances.masked_fill(found.indices == keys[:, None], torch.inf)
            is_found = is_as_near(others.amin(dim=1), nearest)  # (P,)
            walk = Walk(expansion, float(is_found.double().mean()))
            if walk.recall >= self.recall:
                break
        return walk


def _draw_probes(session: Session) -> tuple[Tensor, Tensor, Tensor] | None:
    """Take evenly spread vectors, and find the distance of the nearest other one.

    Returns:
        (P,) keys, (P, D) vectors, (P,) distances; None where there are no vectors.
    """
    drawn = session.run(
        "select key, vector from (select key, vector, row_number() over (order by key) "
        "as place, count(*) over () as total from {vectors} where {own}) as numbered "
        f"where mod(place, greatest(total / {_NUM_PROBES}, 1)) = 0 limit {_NUM_PROBES}"
    ).fetchall()
    if not drawn:
        return None
    keys, probes = _columns(drawn)
    nearest = torch.full((len(keys),), torch.inf)
    with session.connection.cursor("vectors", binary=True) as cursor:
        text = "select key, vector from {vectors} where {own}"
        cursor.execute(session.tables.statement(text))
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
