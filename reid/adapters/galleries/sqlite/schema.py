"""The tables of a gallery's SQLite file, and the one line of state in them.

The file may be hostile, and any column of SQLite can hold any type, so what is read is checked.
"""

import json
import sqlite3
import zlib
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from reid.domain.values.galleries import (
    Calibration,
    EncoderFingerprint,
    GalleryDescription,
    RecordsState,
)

APPLICATION_ID = 0x72656964
"""Marks SQLite files that are ours: `reid` in ASCII."""

SCHEMA_VERSION = 1

_SCHEMA = """
CREATE TABLE state (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    version INTEGER NOT NULL,
    num_images INTEGER NOT NULL,
    last_key INTEGER NOT NULL,
    num_removed INTEGER NOT NULL,
    is_erasing INTEGER NOT NULL,
    vectors TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    calibrations TEXT NOT NULL,
    checksum INTEGER NOT NULL
);
CREATE TABLE images (
    key INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    source TEXT NOT NULL,
    content TEXT NOT NULL,
    label TEXT NOT NULL,
    camera TEXT,
    added_at TEXT NOT NULL,
    expires_at TEXT,
    vector_checksum INTEGER NOT NULL,
    record_checksum INTEGER NOT NULL,
    UNIQUE (source, name)
);
CREATE INDEX images_by_label ON images (label);
CREATE INDEX images_by_content ON images (content);
CREATE TABLE thumbnails (key INTEGER PRIMARY KEY, jpeg BLOB NOT NULL);
CREATE TRIGGER image_removed AFTER DELETE ON images BEGIN
    DELETE FROM thumbnails WHERE key = old.key;
    INSERT INTO removed VALUES (old.key);
END;
CREATE TABLE removed (key INTEGER PRIMARY KEY);
CREATE TABLE audit (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    at TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    num_images INTEGER NOT NULL,
    checksum INTEGER NOT NULL
);
"""


class DamagedRecordError(ValueError):
    """A record holds what this program never writes; the message says what."""


def has_tables(connection: sqlite3.Connection) -> bool:
    """Whether there are tables."""
    return connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is not None


def make_tables(connection: sqlite3.Connection) -> None:
    """Make the tables of a gallery without images."""
    for statement in _statements(_SCHEMA):
        connection.execute(statement)
    write_state(
        connection,
        RecordsState(
            description=GalleryDescription(fingerprint=None, num_images=0),
            last_key=0,
            num_removed=0,
            is_erasing=False,
            vectors="",
        ),
    )
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def write_state(connection: sqlite3.Connection, state: RecordsState) -> None:
    """Replace the state."""
    known = state.description
    fingerprint = known.fingerprint
    fields = (
        known.version,
        known.num_images,
        state.last_key,
        state.num_removed,
        int(state.is_erasing),
        state.vectors,
        json.dumps(fingerprint and {**asdict(fingerprint), "options": dict(fingerprint.options)}),
        json.dumps([asdict(calibration) for calibration in known.calibrations]),
    )
    connection.execute(
        "INSERT OR REPLACE INTO state VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (*fields, checksum_of_record(fields)),
    )


def read_state(connection: sqlite3.Connection) -> RecordsState:
    """Read the state.

    Raises:
        DamagedRecordError: It is not what was written.
    """
    found = connection.execute("SELECT * FROM state WHERE id = 1").fetchone()
    if found is None or checksum_of_record(found[1:-1]) != found[-1]:
        raise DamagedRecordError("the line of its state is not what was written")
    _, version, num_images, last_key, num_removed, is_erasing, vectors, *texts, _ = found
    counts = (version, num_images, last_key, num_removed, is_erasing)
    if not all(isinstance(count, int) and count >= 0 for count in counts):
        raise DamagedRecordError("a count in its state is not a count")
    try:
        fingerprint, calibrations = map(json.loads, texts)
        return RecordsState(
            description=GalleryDescription(
                fingerprint=fingerprint and EncoderFingerprint(**fingerprint),
                num_images=num_images,
                calibrations=tuple(Calibration(**calibration) for calibration in calibrations),
                version=version,
            ),
            last_key=last_key,
            num_removed=num_removed,
            is_erasing=bool(is_erasing),
            vectors=vectors,
        )
    except (TypeError, ValueError) as error:
        raise DamagedRecordError(f"its encoder or calibrations cannot be read: {error}") from error


def checksum_of_record(fields: Any, *, jpeg: bytes | None = None) -> int:  # noqa: ANN401
    """CRC-32 of the fields of a record and of its thumbnail."""
    return zlib.crc32(jpeg or b"", zlib.crc32(repr(tuple(fields)).encode(errors="replace")))


def _statements(script: str) -> Iterator[str]:
    """Split a script: `executescript` would end the transaction."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
