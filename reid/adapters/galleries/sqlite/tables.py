"""The tables of a gallery's SQLite file.

Every row carries a checksum. That of the state is compared whenever it is read, all others by
`faults`.
"""

import sqlite3
import zlib
from collections.abc import Iterable, Mapping
from contextlib import closing

from reid.adapters.galleries.sql_records import fields_of_state
from reid.domain.values.galleries import GalleryDescription, RecordsState

APPLICATION_ID = 0x72656964
"""Marks SQLite files that are ours: `reid` in ASCII."""

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

_EMPTY = RecordsState(
    description=GalleryDescription(fingerprint=None, num_images=0),
    last_key=0,
    num_removed=0,
    is_erasing=False,
    vectors="",
)


def has_tables(connection: sqlite3.Connection) -> bool:
    """Whether there are tables."""
    return connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is not None


def make_tables(connection: sqlite3.Connection) -> None:
    """Make the tables of a gallery without images."""
    for statement in _SCHEMA:
        connection.execute(statement)
    write_state(connection, fields_of_state(_EMPTY))


def write_state(connection: sqlite3.Connection, fields: Mapping[str, int | str]) -> None:
    """Replace the row of state."""
    values = tuple(fields.values())
    connection.execute(
        "INSERT OR REPLACE INTO state VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (*values, checksum_of(values)),
    )


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
        make_tables(connection)
        content = bytearray(connection.serialize())
    content[18:20] = b"\2\2"
    return bytes(content)
