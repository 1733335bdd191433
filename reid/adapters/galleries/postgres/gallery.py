"""A gallery in PostgreSQL with pgvector: one server, many clients, filters in SQL."""

import hashlib
import re

from reid.adapters.galleries.postgres.records import PostgresRecords
from reid.adapters.galleries.postgres.transaction import Tables
from reid.adapters.galleries.postgres.vectors import PostgresVectors
from reid.domain.errors import GalleryError
from reid.domain.services.gallery import Gallery

LOCK_SECONDS = 30.0
"""How long a second writer waits for the first."""

EXACT_UP_TO = 10_000
"""Most vectors that are compared exactly: reading more takes longer than walking a graph."""

_LONGEST_NAME = 40
"""Longer names are shortened, because the server limits the names of tables."""


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
