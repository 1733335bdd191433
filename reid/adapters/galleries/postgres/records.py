"""Records of a gallery in PostgreSQL: one server, many clients.

Every change, with its line of the audit log, is a transaction that locks the tenant's row of state.

Erasure deletes rows in a transaction, and VACUUM then removes them from tables and indexes, unless
another connection still reads an earlier state. Their bytes can stay in the free room of pages
until it is used again or a thorough `reclaim` rewrites the tables, in the server's write-ahead log
until it is recycled, and in backups. Logs and backups are the server's.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg

from reid.adapters.galleries.postgres.sessions import Session, Sessions
from reid.adapters.galleries.sql_records import (
    COLUMNS,
    FIELDS,
    DamagedRecordError,
    RecordsTransaction,
    Value,
)
from reid.domain.values.galleries import AuditEntry, KeptImage, NewImage


class PostgresRecords:
    """Keeps the records of one tenant in the tables of one gallery."""

    residual_traces = (
        "in free room of the tables' pages until the gallery is compacted, and in the server's "
        "write-ahead log, its archive and replicas until it is recycled there, which is up to the "
        "server's operator"
    )

    def __init__(self, sessions: Sessions) -> None:
        """Keep the sessions with a server that has the tables."""
        self.place = sessions.place
        self._sessions = sessions

    @contextmanager
    def reading(self) -> Iterator["PostgresTransaction"]:
        """Begin a transaction that sees one state."""
        with self._sessions.reading() as session:
            yield PostgresTransaction(session)

    @contextmanager
    def writing(self, *, waits: bool = True) -> Iterator["PostgresTransaction"]:
        """Begin a transaction as the tenant's one writer."""
        with self._sessions.transaction() as session:
            session.run("select from {state} where {own} for update" + " nowait" * (not waits))
            yield PostgresTransaction(session)

    def reclaim(self, *, is_thorough: bool) -> None:
        """Vacuum the tables; thoroughly: rewrite them, which locks them."""
        self._sessions.vacuum("{images}, {removed}", is_thorough=is_thorough)

    def close(self) -> None:
        """Close the connections."""
        self._sessions.close()


class PostgresTransaction(RecordsTransaction):
    """Reads and writes the tenant's rows within a transaction of PostgreSQL."""

    def __init__(self, session: Session) -> None:
        """Keep a session within a transaction."""
        self._session = session

    def require_in_place(self) -> None:
        """Do nothing: tables are not replaced while a transaction reads them."""

    def note(self, entry: AuditEntry) -> None:
        """Append a line to the audit log."""
        self._run(
            "insert into {audit} (tenant, at, action, subject, num_images) "
            "values ({tenant}, :at, :action, :subject, :num_images)",
            at=entry.at,
            action=entry.action.value,
            subject=entry.subject,
            num_images=entry.num_images,
        )

    def _run(self, text: str, **values: Value) -> psycopg.Cursor[Any]:
        listed = {
            name: value if isinstance(value, str | int) else list(value)
            for name, value in values.items()
        }
        return self._session.run(text, **listed)

    def _state_row(self) -> Sequence[Any]:
        found = self._run(
            "select version, num_images, last_key, "
            "(select count(*) from {removed} where {own}), is_erasing, vectors, "
            "fingerprint::text, calibrations::text from {state} where {own}"
        ).fetchone()
        if found is None:
            raise DamagedRecordError("the row of its state is missing")
        return tuple(found)

    def _write_state(self, fields: Mapping[str, int | str]) -> None:
        self._run(
            "update {state} set version = :version, num_images = :num_images, "
            "last_key = :last_key, is_erasing = :is_erasing <> 0, vectors = :vectors, "
            "fingerprint = :fingerprint, calibrations = :calibrations where {own}",
            **fields,
        )

    def _insert(
        self, kept: Sequence[KeptImage], images: Sequence[NewImage], checksums: Sequence[int]
    ) -> None:
        self._session.run_many(
            f"insert into {{images}} (tenant, {COLUMNS}, thumbnail, vector_checksum) "
            f"values ({{tenant}}{', %s' * (len(FIELDS) + 2)})",
            (
                (*(getattr(one, name) for name in FIELDS), image.thumbnail, checksum)
                for one, image, checksum in zip(kept, images, checksums, strict=True)
            ),
        )

    def _delete(self, condition: str, **values: Value) -> int:
        return self._run(
            f"with gone as (delete from {{images}} where {{own}} and {condition} "
            "returning tenant, key) insert into {removed} select tenant, key from gone",
            **values,
        ).rowcount
