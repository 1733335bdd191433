"""The tables of a gallery's SQLite file, and a transaction over them.

Every row carries a checksum. That of the state is compared whenever it is read, all others by
`faults`. The file may be hostile, and any column of SQLite can hold any type, so what is read is
checked.
"""

import json
import re
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import cache
from typing import Any

from reid.adapters.galleries.sql_records import (
    COLUMNS,
    FIELDS,
    DamagedRecordError,
    RecordsTransaction,
    Value,
    fields_of,
    fields_of_state,
    image_of,
)
from reid.domain.values.galleries import AuditEntry, KeptImage, NewImage, RecordsState

APPLICATION_ID = 0x72656964  # marks SQLite files that are ours: `reid` in ASCII
SCHEMA_VERSION = 1

_SCHEMA = (
    "CREATE TABLE state (id INTEGER PRIMARY KEY CHECK (id = 1), version INTEGER NOT NULL, "
    "num_images INTEGER NOT NULL, last_key INTEGER NOT NULL, num_removed INTEGER NOT NULL, "
    "is_erasing INTEGER NOT NULL, vectors TEXT NOT NULL, fingerprint TEXT NOT NULL, "
    "calibrations TEXT NOT NULL, checksum INTEGER NOT NULL)",
    "CREATE TABLE images (key INTEGER PRIMARY KEY, name TEXT NOT NULL, source TEXT NOT NULL, "
    "content TEXT NOT NULL, label TEXT NOT NULL, camera TEXT, added_at TEXT NOT NULL, "
    "expires_at TEXT, vector_checksum INTEGER NOT NULL, record_checksum INTEGER NOT NULL, "
    "UNIQUE (source, name))",
    "CREATE INDEX images_by_label ON images (label)",
    "CREATE INDEX images_by_content ON images (content)",
    "CREATE TABLE thumbnails (key INTEGER PRIMARY KEY, jpeg BLOB NOT NULL)",
    "CREATE TRIGGER image_removed AFTER DELETE ON images BEGIN "
    "DELETE FROM thumbnails WHERE key = old.key; INSERT INTO removed VALUES (old.key); END",
    "CREATE TABLE removed (key INTEGER PRIMARY KEY)",
    "CREATE TABLE audit (number INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, "
    "action TEXT NOT NULL, subject TEXT NOT NULL, num_images INTEGER NOT NULL, "
    "checksum INTEGER NOT NULL)",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)

_NAMES = {
    **{name: name for name in ("images", "removed", "audit")},
    "own": "true",
    "thumbnail": "(select jpeg from thumbnails where thumbnails.key = images.key)",
    "has_thumbnail": "exists (select 1 from thumbnails where thumbnails.key = images.key)",
}


class SqliteTransaction(RecordsTransaction):
    """Reads and writes within a transaction of SQLite."""

    def __init__(
        self, connection: sqlite3.Connection, *, require_in_place: Callable[[], None] | None = None
    ) -> None:
        """Keep a connection within a transaction; without `require_in_place` it always is."""
        self._connection = connection
        self._require_in_place = require_in_place

    def make_tables(self) -> None:
        """Make the tables of a gallery without images."""
        for statement in _SCHEMA:
            self._connection.execute(statement)
        self._write_state(fields_of_state(RecordsState()))

    def require_in_place(self) -> None:
        """See the port."""
        if self._require_in_place is not None:
            self._require_in_place()

    def run(self, text: str, **values: Value) -> sqlite3.Cursor:
        """Execute a statement with its values."""
        return self._connection.execute(
            _in_sqlite(text),
            {
                name: value if isinstance(value, str | int) else json.dumps(list(value))
                for name, value in values.items()
            },
        )

    def note(self, entry: AuditEntry) -> None:
        """Append a line to the audit log."""
        fields = (entry.at, entry.action.value, entry.subject, entry.num_images)
        self._connection.execute(
            "INSERT INTO audit (at, action, subject, num_images, checksum) VALUES (?, ?, ?, ?, ?)",
            (*fields, checksum_of(fields)),
        )

    def faults(self) -> Iterator[str]:
        """Compare everything with its checksum; see the port."""
        for (verdict,) in self._connection.execute("PRAGMA integrity_check(10)"):
            if verdict != "ok":
                yield f"the database is damaged: {verdict}"
        yield from super().faults()
        orphans = "SELECT key FROM thumbnails WHERE key NOT IN (SELECT key FROM images)"
        for (key,) in self._connection.execute(orphans):
            yield f"a thumbnail of image {key} is kept, the image is not"
        found = self._connection.execute(
            f"SELECT {COLUMNS}, record_checksum, jpeg FROM images LEFT JOIN thumbnails "
            "USING (key) ORDER BY key"
        )
        for *fields, checksum, jpeg in found:
            image = image_of(fields)
            if checksum_of(fields, jpeg=jpeg) != checksum:
                yield (
                    f"the record of {image.name} of {image.source} (key {image.key}) is "
                    "damaged: remove the image"
                )
        for number, *fields, checksum in self._connection.execute("SELECT * FROM audit"):
            if checksum_of(fields) != checksum:
                yield f"line {number} of the audit log is not what was written"

    def _state_row(self) -> Sequence[Any]:
        found = self._connection.execute("SELECT * FROM state WHERE id = 1").fetchone()
        if found is None or checksum_of(found[1:-1]) != found[-1]:
            raise DamagedRecordError("the line of its state is not what was written")
        return tuple(found[1:-1])

    def _write_state(self, fields: Mapping[str, int | str]) -> None:
        values = tuple(fields.values())
        self._connection.execute(
            "INSERT OR REPLACE INTO state VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*values, checksum_of(values)),
        )

    def _insert(
        self, kept: Sequence[KeptImage], images: Sequence[NewImage], checksums: Sequence[int]
    ) -> None:
        self._connection.executemany(
            f"INSERT INTO images ({COLUMNS}, vector_checksum, record_checksum) "
            f"VALUES ({', '.join('?' * (len(FIELDS) + 2))})",
            (
                (*fields, checksum, checksum_of(fields, jpeg=image.thumbnail))
                for fields, image, checksum in zip(
                    map(fields_of, kept), images, checksums, strict=True
                )
            ),
        )
        jpegs = ((one.key, image.thumbnail) for one, image in zip(kept, images, strict=True))
        self._connection.executemany(
            "INSERT INTO thumbnails VALUES (?, ?)", (row for row in jpegs if row[1] is not None)
        )

    def _delete(self, condition: str, **values: Value) -> int:
        # A trigger deletes the thumbnails and lists the keys.
        return self.run(f"delete from {{images}} where {condition}", **values).rowcount


@cache
def _in_sqlite(text: str) -> str:
    return re.sub(r"among (:\w+)", r"in (select value from json_each(\1))", text.format_map(_NAMES))


def has_tables(connection: sqlite3.Connection) -> bool:
    """Whether there are tables."""
    return connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is not None


def checksum_of(fields: Iterable[object], *, jpeg: bytes | None = None) -> int:
    """CRC-32 of the fields of a row and of its thumbnail."""
    return zlib.crc32(jpeg or b"", zlib.crc32(repr(tuple(fields)).encode(errors="replace")))


def content_of_new() -> bytes:
    """Build the file of a gallery without images, in memory.

    On the disk SQLite would build it step by step, and leave a part where the disk is full. Bytes
    18 and 19 switch on write-ahead mode, which databases in memory do not have
    (https://www.sqlite.org/fileformat2.html, 1.3).
    """
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        SqliteTransaction(connection).make_tables()
        content = bytearray(connection.serialize())
    content[18:20] = b"\2\2"
    return bytes(content)
