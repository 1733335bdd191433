"""The tables of a gallery in PostgreSQL, and statements over them.

A gallery's tables hold several tenants. Their records are separate, and each tenant has its own
keys.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from psycopg.sql import SQL, Composable, Composed, Identifier, Literal

from reid.adapters.galleries.filters import conditions_in
from reid.domain.errors import GalleryError
from reid.domain.values.galleries import GalleryFilter, KeptImage, is_keepable

IMAGE_COLUMNS = tuple(KeptImage.__slots__)
"""Columns of a kept image, in the order of its fields."""

_CONDITIONS = {
    "cameras": "camera = any(%(cameras)s)",
    "without_cameras": "(camera is null or camera <> all(%(without_cameras)s))",
    "labels": "label = any(%(labels)s)",
    "added_from": "added_at >= %(added_from)s",
    "added_until": "added_at < %(added_until)s",
}
"""SQL of a filter's fields."""

_TABLES = ("state", "images", "removed", "audit", "vectors", "graphs")

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
        """Fill in names of tables, the tenant, and the condition `own` on rows.

        The tenant is written out, so that the planner sees which graph is the tenant's.
        """
        return SQL(text).format(
            own=SQL("tenant = {}").format(Literal(self.tenant)),
            tenant=Literal(self.tenant),
            **{name: self.named(name) for name in _TABLES},
            **parts,
        )

    def creation(self, *, with_vectors: bool) -> tuple[Composed, ...]:
        """Give the statements that make what is missing."""
        texts = (*_RECORDS, *_VECTORS) if with_vectors else _RECORDS
        indexes = {name: self.named(name) for name in ("labels", "contents")}
        return tuple(self.statement(text, **indexes) for text in texts)


def tables_of(name: str, *, tenant: str) -> Tables:
    """Find the tables of a gallery whose vectors are in PostgreSQL, too.

    Raises:
        GalleryError: No gallery or no tenant can have such a name.
    """
    if re.fullmatch(r"[a-z][a-z0-9_]{0,30}", name) is None:
        raise GalleryError(
            f"{name!r} names no gallery in PostgreSQL: give a lower-case letter and up to "
            "30 lower-case letters, digits and underscores"
        )
    return Tables(f"reid_{name}", tenant)


def condition_of(within: GalleryFilter) -> tuple[Composable, dict[str, object]]:
    """Write a filter in SQL, with its parameters."""
    asked = conditions_in(within)
    condition = SQL(" and ").join([SQL("true"), *(SQL(_CONDITIONS[name]) for name in asked)])
    return condition, {
        name: one if isinstance(one, str) else sorted(filter(is_keepable, one))
        for name, one in asked.items()
    }


def selected(columns: Sequence[str]) -> Composed:
    """List columns."""
    return SQL(", ").join(map(Identifier, columns))
