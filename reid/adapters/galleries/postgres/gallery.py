"""A gallery in PostgreSQL with pgvector: one server, many clients, filters in SQL.

Vectors are pgvector's `vector`, float32 to the bit. A tenant's vectors up to a given number, and
those that a filter leaves up to that number, are all compared; beyond it, a graph finds candidates,
which are then compared exactly.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from reid.adapters.galleries.filters import condition_of
from reid.adapters.galleries.postgres.records import PostgresRecords
from reid.adapters.galleries.postgres.search import (
    LARGEST_EXPANSION,
    Graph,
    Walk,
    ask,
    candidates,
    exactly,
    prepare_walk,
)
from reid.adapters.galleries.postgres.transaction import PostgresTransaction, Tables
from reid.adapters.galleries.rows import WithoutUpkeep, vectors_by_key
from reid.domain.errors import GalleryError
from reid.domain.services.gallery import Gallery
from reid.domain.services.gallery_checks import as_array
from reid.domain.values.features import Neighbours
from reid.domain.values.galleries import EVERYTHING, GalleryFilter, KeptImage

LOCK_SECONDS = 30.0  # how long a second writer waits for the first
EXACT_UP_TO = 10_000
"""Most vectors that are compared exactly: reading more takes longer than walking a graph."""

_LONGEST_NAME = 40  # longer names are shortened, because the server limits the names of tables


def open_postgres_gallery(
    address: str,
    *,
    name: str = "gallery",
    create: bool = True,
    tenant: str = "",
    recall: float = 0.95,
    exact_up_to: int = EXACT_UP_TO,
    lock_seconds: float = LOCK_SECONDS,
) -> Gallery:
    """Open a gallery, or create it with its tables.

    Args:
        address: Of the database, as libpq takes it: `postgresql://user@host/database`.
        name: Part of the names of its tables.
        create: Whether to make an empty gallery where there is none.
        tenant: Whose images; others in the same tables are never seen.
        recall: Wanted share of nearest neighbours found where a graph is searched.
        exact_up_to: Images of the tenant up to which no graph is used.
        lock_seconds: How long to wait for another writer.

    Raises:
        GalleryError: The database cannot be reached or has no pgvector, the name is not allowed, or
            there is no such gallery and `create` is False.
    """
    if re.fullmatch(r"[a-z][a-z0-9_]{0,30}", name) is None:
        raise GalleryError(
            f"{name!r} names no gallery in PostgreSQL: give a lower-case letter and up to "
            "30 lower-case letters, digits and underscores"
        )
    tables = Tables(f"reid_{name}", tenant, has_vectors=True)
    called = _called(name, tenant)
    records = _opened(address, tables, called=called, create=create, lock_seconds=lock_seconds)
    vectors = PostgresVectors(records, recall=recall, exact_up_to=exact_up_to)
    return Gallery(records, vectors)


def open_postgres_records(
    address: str,
    *,
    kind: str,
    name: str,
    create: bool,
    tenant: str = "",
    lock_seconds: float = LOCK_SECONDS,
) -> PostgresRecords:
    """Open records of a gallery whose vectors are elsewhere; pgvector is not needed.

    `kind` keeps the tables of different engines apart. See `open_postgres_gallery`.

    Raises:
        GalleryError: The database cannot be reached, or there is no such gallery and `create` is
            False.
    """
    short = name
    if len(name) > _LONGEST_NAME:
        digest = hashlib.blake2b(name.encode(), digest_size=6).hexdigest()
        short = f"{name[: _LONGEST_NAME - len(digest) - 1]}_{digest}"
    tables = Tables(f"reid{kind}_{short}", tenant, has_vectors=False)
    called = f"the records of {_called(name, tenant)}"
    return _opened(address, tables, called=called, create=create, lock_seconds=lock_seconds)


def _called(name: str, tenant: str) -> str:
    return f"the gallery {name}" + (f" of {tenant}" if tenant else "")


def _opened(
    address: str, tables: Tables, *, called: str, create: bool, lock_seconds: float
) -> PostgresRecords:
    records = PostgresRecords(address, tables, gallery=called, lock_seconds=lock_seconds)
    try:
        records.open(create=create)
    except GalleryError:
        records.close()
        raise
    return records


class PostgresVectors(WithoutUpkeep):
    """Keeps vectors of one tenant, with what filters need; behind the port.

    They change with the records or not at all, so there is one state and nothing is left over. They
    leave traces only where the records do. The connections are the records' to close.
    """

    filters = True

    def __init__(self, records: PostgresRecords, *, recall: float, exact_up_to: int) -> None:
        """Keep the records of the same tenant; the rest is for the graph."""
        self._records = records
        self._graph = Graph(records, recall, exact_up_to)

    @property
    def is_exact(self) -> bool:
        """Whether no graph is used."""
        with self._records.reading() as now:
            return self._graph.walk(now) is None

    def view(self, state: str) -> "PostgresView":  # noqa: ARG002
        """See what the transaction sees."""
        now = self._records.current
        return PostgresView(now, self._graph.walk(now), self._graph.exact_up_to)

    def add(self, state: str, images: Sequence[KeptImage], vectors: Tensor) -> str:
        """Insert rows."""
        self._records.current.run_many(
            "insert into {vectors} (tenant, key, label, camera, added_at, vector) "
            "values ({tenant}, %s, %s, %s, %s, %s)",
            (
                (one.key, one.label, one.camera, one.added_at, vector)
                for one, vector in zip(images, as_array(vectors), strict=True)
            ),
        )
        return state

    def drop(self, state: str, keys: Sequence[int]) -> str:
        """Delete rows."""
        text = "delete from {vectors} where {own} and key among :keys"
        self._records.current.run(text, keys=list(keys))
        return state

    def settle(self) -> None:
        """Build the graph where it is missing, and measure recall where it has grown."""
        self._graph.tend()

    def reclaim(self, state: str, *, is_thorough: bool) -> None:  # noqa: ARG002
        """Vacuum the table; thoroughly: rewrite it, which locks it, and measure recall again."""
        self._records.vacuum("{vectors}", is_thorough=is_thorough)
        if is_thorough:
            self._graph.tend(is_forced=True)

    def faults(self, state: str) -> Iterator[str]:  # noqa: ARG002
        """Look at widths, and at the graph."""
        now = self._records.current
        widths = now.run(
            "select key, vector_dims(vector) from {vectors} where {own} and vector_dims(vector) <> "
            "(select (fingerprint->>'width')::int from {state} where {own})"
        ).fetchall()
        yield from self._graph.faults(now)
        for key, width in widths:
            yield f"the vector of image {key} has width {width}: remove the image"


@dataclass(frozen=True, slots=True)
class PostgresView:
    """Vectors as a transaction sees them."""

    now: PostgresTransaction
    walk: Walk | None  # None: there is no graph
    exact_up_to: int
    is_ready: bool = True

    @property
    def recall(self) -> float:
        """As measured last; 1 where no graph is used."""
        return 1.0 if self.walk is None else self.walk.recall

    def of(self, keys: Sequence[int]) -> Tensor:
        """Look up vectors; see the port."""
        text = "select key, vector from {vectors} where {own} and key among :keys"
        rows = self.now.run(text, keys=list(keys))
        found = {key: vector.to_numpy().astype(np.float32) for key, vector in rows}
        return vectors_by_key(found, keys, place="the gallery")

    def nearest(self, queries: Tensor, k: int, *, within: GalleryFilter) -> Neighbours:
        """Rank what a filter admits, exactly or by the graph."""
        condition, values = condition_of(within)
        if self.walk is None or 2 * k > LARGEST_EXPANSION or self._admits_few(within):
            return ask(self.now, exactly(condition), queries, k=k, **values)
        prepare_walk(self.now, self.walk.expansion, num_answers=k)
        statement = candidates(condition, width=queries.shape[1])
        return ask(self.now, statement, queries, k=k, num_candidates=2 * k, **values)

    def among(self, queries: Tensor, k: int, *, keys: Sequence[int]) -> Neighbours:
        """Rank some, exactly."""
        return ask(self.now, exactly("key among :keys"), queries, k=k, keys=list(keys))

    def _admits_few(self, within: GalleryFilter) -> bool:
        if within == EVERYTHING:
            return False
        condition, values = condition_of(within)
        row = self.now.run(
            f"select count(*) from (select from {{vectors}} where {{own}} and {condition} "
            f"limit {self.exact_up_to + 1}) as looked_at",
            **values,
        ).fetchone()
        return row is None or row[0] <= self.exact_up_to
