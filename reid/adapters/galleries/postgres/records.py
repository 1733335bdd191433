"""Records of a gallery in PostgreSQL: one server, many clients.

Every change, with its line of the audit log, is a transaction that locks the tenant's row of state.

Erasure deletes rows in a transaction, and VACUUM then removes them from tables and indexes, unless
another connection still reads an earlier state. Their bytes can stay in the free room of pages
until it is used again or a thorough `reclaim` rewrites the tables, in the server's write-ahead log
until it is recycled, and in backups. Logs and backups are the server's.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict

from psycopg.sql import SQL
from psycopg.types.json import Jsonb

from reid.adapters.galleries.postgres.reader import PostgresReader
from reid.adapters.galleries.postgres.sessions import Sessions
from reid.adapters.galleries.postgres.tables import IMAGE_COLUMNS, Tables, selected
from reid.domain.values.galleries import (
    AuditEntry,
    Calibration,
    EncoderFingerprint,
    KeptImage,
    NewImage,
)


class PostgresRecords:
    """Keeps the records of one tenant in the tables of one gallery."""

    def __init__(self, sessions: Sessions, tables: Tables) -> None:
        """Keep the parts; the tables are there."""
        self._sessions = sessions
        self._tables = tables

    @property
    def place(self) -> str:
        """Gallery, server and database; without the password."""
        return self._sessions.place

    @property
    def residual_traces(self) -> str:
        """Pages and logs of the server; see the module."""
        return (
            "in free room of the tables' pages until the gallery is compacted, and in "
            "the server's write-ahead log, its archive and replicas until it is recycled there, "
            "which is up to the server's operator"
        )

    @contextmanager
    def reading(self) -> Iterator["PostgresReader"]:
        """Begin a transaction that sees one state."""
        with self._sessions.reading() as connection:
            yield PostgresReader(connection, self._tables, place=self.place)

    @contextmanager
    def writing(self, *, waits: bool = True) -> Iterator["PostgresWriter"]:
        """Begin a transaction as the tenant's one writer."""
        lock = "select from {state} where {own} for update" + ("" if waits else " nowait")
        with self._sessions.transaction() as connection:
            connection.execute(self._tables.statement(lock))
            yield PostgresWriter(connection, self._tables, place=self.place)

    def reclaim(self, *, is_thorough: bool) -> None:
        """Vacuum the tables; thoroughly: rewrite them, which locks them."""
        how = "full, analyze" if is_thorough else "index_cleanup on, truncate on"
        self._sessions.run(self._tables.statement(f"vacuum ({how}) {{images}}, {{removed}}"))

    def close(self) -> None:
        """Close the connections."""
        self._sessions.close()


class PostgresWriter(PostgresReader):
    """A change in progress."""

    def add(
        self,
        images: Sequence[NewImage],
        *,
        checksums: Sequence[int],
        fingerprint: EncoderFingerprint,
        at: str,
    ) -> tuple[KeptImage, ...]:
        """Keep records; see the port."""
        state = self.state()
        num_replaced = self._delete(
            "(source, name) in (select * from unnest(%s::text[], %s::text[]))",
            [image.source for image in images],
            [image.name for image in images],
        )
        kept = tuple(
            KeptImage.of(image, key=key, added_at=at)
            for key, image in enumerate(images, state.last_key + 1)
        )
        self._insert(kept, [image.thumbnail for image in images], checksums)
        self._change(
            "version = version + 1, last_key = last_key + %s, num_images = num_images + %s, "
            "fingerprint = coalesce(fingerprint, %s)",
            len(kept),
            len(kept) - num_replaced,
            Jsonb({**asdict(fingerprint), "options": dict(fingerprint.options)}),
        )
        return kept

    def remove(self, keys: Sequence[int], *, erases: bool) -> int:
        """Delete records, thumbnails included; see the port."""
        count = self._delete("key = any(%s)", list(keys))
        self._change(
            "version = version + 1, num_images = num_images - %s, is_erasing = is_erasing or %s",
            count,
            erases,
        )
        return count

    def keep_vectors_state(self, state: str) -> None:
        """Keep how the vectors are found."""
        self._change("vectors = %s", state)

    def forget_removed(self) -> None:
        """Forget the keys of removed images."""
        self._connection.execute(self._tables.statement("delete from {removed} where {own}"))

    def end_erasure(self) -> None:
        """Note that no erasure is pending."""
        self._change("is_erasing = false")

    def calibrate(self, calibrations: Sequence[Calibration]) -> None:
        """Keep calibrations."""
        self._change("calibrations = %s", Jsonb([asdict(one) for one in calibrations]))

    def note(self, entry: AuditEntry) -> None:
        """Append a line to the audit log."""
        statement = self._tables.statement(
            "insert into {audit} (tenant, at, action, subject, num_images) "
            "values ({tenant}, %s, %s, %s, %s)"
        )
        values = [entry.at, entry.action.value, entry.subject, entry.num_images]
        self._connection.execute(statement, values)

    def _change(self, assignments: str, *values: object) -> None:
        statement = self._tables.statement(f"update {{state}} set {assignments} where {{own}}")
        self._connection.execute(statement, values)

    def _delete(self, condition: str, *values: object) -> int:
        """Delete images, and remember their keys."""
        statement = self._tables.statement(
            "with gone as (delete from {images} where {own} and " + condition + " "
            "returning tenant, key) insert into {removed} select tenant, key from gone"
        )
        return self._connection.execute(statement, values).rowcount

    def _insert(
        self,
        kept: Sequence[KeptImage],
        thumbnails: Sequence[bytes | None],
        checksums: Sequence[int],
    ) -> None:
        columns = (*IMAGE_COLUMNS, "thumbnail", "vector_checksum")
        statement = self._tables.statement(
            "insert into {images} (tenant, {columns}) values ({tenant}, {values})",
            columns=selected(columns),
            values=SQL(", ").join([SQL("%s")] * len(columns)),
        )
        with self._connection.cursor() as cursor:
            cursor.executemany(
                statement,
                (
                    (*(getattr(one, name) for name in IMAGE_COLUMNS), thumbnail, checksum)
                    for one, thumbnail, checksum in zip(kept, thumbnails, checksums, strict=True)
                ),
            )
