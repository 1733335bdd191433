"""The tables of a gallery in PostgreSQL, and statements over them.

A gallery's tables hold several tenants. Their records are separate, and each tenant has its own
keys.
"""

import re
from dataclasses import dataclass

from psycopg.sql import SQL, Composable, Composed, Identifier, Literal

from reid.domain.errors import GalleryError

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

    prefix: str
    """What the names of the gallery's tables begin with."""

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

    def statement(self, text: str, **parts: Composable) -> Composed:
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
            **parts,
        )

    @property
    def creation(self) -> tuple[str, ...]:
        """The statements that make missing tables and indexes."""
        return (*_RECORDS, *_VECTORS) if self.has_vectors else _RECORDS
