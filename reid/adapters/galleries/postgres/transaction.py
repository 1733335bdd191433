"""The tables of a gallery in PostgreSQL, and a transaction over them.

A gallery's tables hold several tenants. Their records are separate, and each tenant has its own
keys.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.sql import SQL, Composed, Identifier, Literal

from reid.adapters.galleries.sql_records import (
    COLUMNS,
    FIELDS,
    DamagedRecordError,
    RecordsTransaction,
    Value,
    fields_of,
)
from reid.domain.errors import GalleryError
from reid.domain.values.galleries import AuditEntry, KeptImage, NewImage

Connection = psycopg.Connection[Any]

_NAMES = ("state", "images", "removed", "audit", "vectors", "graphs", "labels", "contents")
"""Tables and indexes."""

_RECORDS = (
    "create table if not exists {state} (tenant text primary key, "
    "version bigint not null default 0, num_images bigint not null default 0, "
    "last_key bigint not null default 0, is_erasing boolean not null default false, "
    "vectors text not null default '', fingerprint jsonb, "
    "calibrations jsonb not null default '[]')",
    "create table if not exists {images} (tenant text not null, key bigint not null, "
    "name text not null, source text not null, content text not null, label text not null, "
    'camera text, added_at text collate "C" not null, expires_at text collate "C", '
    "thumbnail bytea, vector_checksum bigint not null, "
    "primary key (tenant, key), unique (tenant, source, name))",
    "create index if not exists {labels} on {images} (tenant, label)",
    "create index if not exists {contents} on {images} (tenant, content)",
    "create table if not exists {removed} (tenant text not null, key bigint not null, "
    "primary key (tenant, key))",
    "create table if not exists {audit} (number bigint generated always as identity primary key, "
    "tenant text not null, at text not null, action text not null, subject text not null, "
    "num_images bigint not null)",
)
_VECTORS = (
    "create extension if not exists vector",
    "create table if not exists {vectors} (tenant text not null, key bigint not null, "
    'label text not null, camera text, added_at text collate "C" not null, '
    "vector vector not null, primary key (tenant, key))",
    "create table if not exists {graphs} (tenant text primary key, expansion integer not null, "
    "recall double precision not null, measured_at bigint not null)",
)


@dataclass(frozen=True, slots=True)
class Tables:
    """Names and statements of one gallery and tenant."""

    prefix: str  # what the names of the gallery's tables begin with
    tenant: str
    has_vectors: bool

    def __post_init__(self) -> None:
        """Refuse tenants that cannot be written in a statement.

        Raises:
            GalleryError: It is such a tenant.
        """
        if "%" in self.tenant or "\0" in self.tenant:
            raise GalleryError(f"gallery.tenant: {self.tenant!r} should be without % and NUL")

    def named(self, what: str) -> Identifier:
        """Name a table, or something else of the gallery."""
        return Identifier(f"{self.prefix}_{what}")

    def statement(self, text: str) -> Composed:
        """Translate a statement: names in braces, values `:name`, and `among :name`.

        The tenant is written out, so that the planner sees which graph is the tenant's.
        """
        text = re.sub(r"among (:\w+)", r"= any(\1)", text)
        return SQL(re.sub(r"(?<!:):(\w+)", r"%(\1)s", text)).format(
            own=SQL("tenant = {}").format(Literal(self.tenant)),
            tenant=Literal(self.tenant),
            thumbnail=Identifier("thumbnail"),
            has_thumbnail=SQL("thumbnail is not null"),
            **{name: self.named(name) for name in _NAMES},
        )

    @property
    def creation(self) -> tuple[str, ...]:
        """The statements that make missing tables and indexes."""
        return (*_RECORDS, *_VECTORS) if self.has_vectors else _RECORDS


class PostgresTransaction(RecordsTransaction):
    """Reads and writes the tenant's rows within a transaction of PostgreSQL."""

    def __init__(self, connection: Connection, tables: Tables) -> None:
        """Keep a connection within a transaction."""
        self.connection = connection
        self.tables = tables

    def run(self, text: str, **values: object) -> psycopg.Cursor[Any]:
        """Execute a statement with its values; see `Tables.statement`."""
        given = {name: [*one] if isinstance(one, tuple) else one for name, one in values.items()}
        return self.connection.execute(self.tables.statement(text), given, binary=True)

    def run_many(self, text: str, rows: Iterable[Sequence[object]]) -> None:
        """Execute a statement for each row of values, `%s`."""
        with self.connection.cursor() as cursor:
            cursor.executemany(self.tables.statement(text), rows)

    def require_in_place(self) -> None:
        """Do nothing: tables are not replaced while a transaction reads them."""

    def note(self, entry: AuditEntry) -> None:
        """Append a line to the audit log."""
        self.run(
            "insert into {audit} (tenant, at, action, subject, num_images) "
            "values ({tenant}, :at, :action, :subject, :num_images)",
            at=entry.at,
            action=entry.action.value,
            subject=entry.subject,
            num_images=entry.num_images,
        )

    def _state_row(self) -> Sequence[Any]:
        found = self.run(
            "select version, num_images, last_key, "
            "(select count(*) from {removed} where {own}), is_erasing, vectors, "
            "fingerprint::text, calibrations::text from {state} where {own}"
        ).fetchone()
        if found is None:
            raise DamagedRecordError("the row of its state is missing")
        return tuple(found)

    def _write_state(self, fields: Mapping[str, int | str]) -> None:
        self.run(
            "update {state} set version = :version, num_images = :num_images, "
            "last_key = :last_key, is_erasing = :is_erasing <> 0, vectors = :vectors, "
            "fingerprint = :fingerprint, calibrations = :calibrations where {own}",
            **fields,
        )

    def _insert(
        self, kept: Sequence[KeptImage], images: Sequence[NewImage], checksums: Sequence[int]
    ) -> None:
        self.run_many(
            f"insert into {{images}} (tenant, {COLUMNS}, thumbnail, vector_checksum) "
            f"values ({{tenant}}{', %s' * (len(FIELDS) + 2)})",
            (
                (*fields_of(one), image.thumbnail, checksum)
                for one, image, checksum in zip(kept, images, checksums, strict=True)
            ),
        )

    def _delete(self, condition: str, **values: Value) -> int:
        return self.run(
            f"with gone as (delete from {{images}} where {{own}} and {condition} "
            "returning tenant, key) insert into {removed} select tenant, key from gone",
            **values,
        ).rowcount
