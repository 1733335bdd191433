"""Records of a gallery in SQLite.

Every line carries a checksum, of which those of the state are compared whenever it is read, all
others by `faults`.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Unpack

from reid.adapters.galleries.sqlite.database import Connections
from reid.adapters.galleries.sqlite.schema import (
    DamagedRecordError,
    checksum_of_record,
    read_state,
    write_state,
)
from reid.domain.values.galleries import (
    AuditAction,
    AuditEntry,
    Calibration,
    EncoderStamp,
    GalleryFilter,
    KeptPicture,
    NewPicture,
    PictureLookup,
    RecordsState,
    admitted_values,
    is_keepable,
)

_FIELDS = tuple(KeptPicture.__slots__)
_COLUMNS = ", ".join(_FIELDS)
_PERHAPS_NONE = {"camera", "expires_at"}
_AMONG = "IN (SELECT value FROM json_each(?))"


class SqliteRecords:
    """Keeps records in a SQLite database."""

    def __init__(self, database: Connections) -> None:
        """Keep the database, which has the tables of a gallery."""
        self._database = database

    @property
    def place(self) -> str:
        """As the database is called."""
        return self._database.place

    @property
    def residual_traces(self) -> None:
        """The file is written anew, and its log is emptied."""
        return None

    @contextmanager
    def reading(self) -> Iterator["SqliteReader"]:
        """Begin a transaction that sees one state."""
        with self._database.reading() as connection:
            yield SqliteReader(connection, self._database)

    @contextmanager
    def writing(self, *, waits: bool = True) -> Iterator["SqliteWriter"]:
        """Begin a transaction as the one writer."""
        with self._database.writing(waits=waits) as connection:
            yield SqliteWriter(connection, self._database)

    def reclaim(self, *, is_thorough: bool) -> None:  # noqa: ARG002  (it is always thorough)
        """Write the file anew."""
        self._database.scrub()

    def close(self) -> None:
        """Close the connections."""
        self._database.close()


class SqliteReader:
    """One state of the records."""

    def __init__(self, connection: sqlite3.Connection, database: Connections) -> None:
        """Keep a connection within a transaction."""
        self._connection = connection
        self._database = database

    def state(self) -> RecordsState:
        """Read the line of state."""
        return read_state(self._connection)

    def pictures(self, **wanted: Unpack[PictureLookup]) -> tuple[KeptPicture, ...]:
        """List pictures by ascending key; see the port."""
        among = admitted_values(wanted)
        asked = [(f"{name} {_AMONG}", _array(values)) for name, values in among.items()]
        if (expired_at := wanted.get("expired_at")) is not None:
            asked.append(("expires_at <= ?", expired_at))
        condition = " AND ".join(part for part, _ in asked) or "1"
        return self._listed(f"{condition} ORDER BY key", *(value for _, value in asked))

    def page(self, *, after: int, limit: int) -> tuple[KeptPicture, ...]:
        """List the next pictures."""
        return self._listed("key > ? ORDER BY key LIMIT ?", after, limit)

    def admitted(self, keys: Sequence[int], *, within: GalleryFilter) -> frozenset[int]:
        """Choose the keys that are kept and admitted."""
        condition, values = _condition(within)
        return frozenset(self._numbers(f"key {_AMONG} AND {condition}", _array(keys), *values))

    def all_admitted(self, *, within: GalleryFilter) -> Sequence[int]:
        """List the keys that a filter admits."""
        condition, values = _condition(within)
        return self._numbers(f"{condition} ORDER BY key", *values)

    def checksums(self, keys: Sequence[int]) -> Mapping[int, int]:
        """Look up the checksums of vectors."""
        statement = f"SELECT key, vector_checksum FROM pictures WHERE key {_AMONG}"
        return dict(self._connection.execute(statement, (_array(keys),)))

    def thumbnail(self, key: int) -> bytes | None:
        """Look up a thumbnail."""
        statement = "SELECT jpeg FROM thumbnails WHERE key = ?"
        found = self._connection.execute(statement, (key,)).fetchone()
        return None if found is None else bytes(found[0])

    def without_thumbnail(self, keys: Sequence[int]) -> frozenset[int]:
        """Choose the keys without a thumbnail."""
        lacks = "NOT EXISTS (SELECT 1 FROM thumbnails WHERE thumbnails.key = pictures.key)"
        return frozenset(self._numbers(f"key {_AMONG} AND {lacks}", _array(keys)))

    def removed(self) -> tuple[int, ...]:
        """List the keys of removed pictures."""
        found = self._connection.execute("SELECT key FROM removed ORDER BY key")
        return tuple(key for (key,) in found)

    def audit(self) -> tuple[AuditEntry, ...]:
        """Read the audit log."""
        found = self._connection.execute(
            "SELECT at, action, subject, num_pictures FROM audit ORDER BY number"
        )
        try:
            return tuple(
                AuditEntry(at=at, action=AuditAction(action), subject=subject, num_pictures=count)
                for at, action, subject, count in found
            )
        except ValueError as error:
            raise DamagedRecordError(f"a line of its audit log cannot be read: {error}") from error

    def faults(self) -> Iterator[str]:
        """Compare everything with its checksum; see the port."""
        for (verdict,) in self._connection.execute("PRAGMA integrity_check(10)"):
            if verdict != "ok":
                yield f"the database is damaged: {verdict}"
        state = self.state()
        counted, last_key, num_removed = self._connection.execute(
            "SELECT (SELECT count(*) FROM pictures), (SELECT coalesce(max(key), 0) FROM pictures), "
            "(SELECT count(*) FROM removed)"
        ).fetchone()
        if counted != state.description.num_pictures or num_removed != state.num_removed:
            yield (
                f"{counted} pictures are recorded, {state.description.num_pictures} were counted"
            )
        if last_key > state.last_key:
            yield f"picture {last_key} is recorded, keys up to {state.last_key} were given"
        yield from self._faults_of_lines()

    def require_in_place(self) -> None:
        """See the port."""
        self._database.require_in_place(self._connection)

    def _faults_of_lines(self) -> Iterator[str]:
        orphans = "SELECT key FROM thumbnails WHERE key NOT IN (SELECT key FROM pictures)"
        for (key,) in self._connection.execute(orphans):
            yield f"a thumbnail of picture {key} is kept, the picture is not"
        found = self._connection.execute(
            f"SELECT {_COLUMNS}, record_checksum, jpeg FROM pictures LEFT JOIN thumbnails "
            "USING (key) ORDER BY key"
        )
        for *fields, checksum, jpeg in found:
            picture = _picture(fields)
            if checksum_of_record(fields, jpeg=jpeg) != checksum:
                yield (
                    f"the record of {picture.image} of {picture.source} (key {picture.key}) is "
                    "damaged: remove the picture"
                )
        for number, *fields, checksum in self._connection.execute("SELECT * FROM audit"):
            if checksum_of_record(fields) != checksum:
                yield f"line {number} of the audit log is not what was written"

    def _listed(self, condition: str, *values: object) -> tuple[KeptPicture, ...]:
        statement = f"SELECT {_COLUMNS} FROM pictures WHERE {condition}"
        return tuple(map(_picture, self._connection.execute(statement, values)))

    def _numbers(self, condition: str, *values: object) -> list[int]:
        statement = f"SELECT key FROM pictures WHERE {condition}"
        return [key for (key,) in self._connection.execute(statement, values)]


class SqliteWriter(SqliteReader):
    """A change in progress."""

    def add(
        self,
        pictures: Sequence[NewPicture],
        *,
        checksums: Sequence[int],
        stamp: EncoderStamp,
        at: str,
    ) -> tuple[KeptPicture, ...]:
        """Keep records; see the port."""
        state = self.state()
        num_replaced = self._connection.executemany(
            "DELETE FROM pictures WHERE source = ? AND image = ?",
            ((picture.source, picture.image) for picture in pictures),
        ).rowcount
        kept = tuple(
            KeptPicture.of(picture, key=key, added_at=at)
            for key, picture in enumerate(pictures, state.last_key + 1)
        )
        places = ", ".join("?" * (len(_FIELDS) + 2))
        self._connection.executemany(
            f"INSERT INTO pictures ({_COLUMNS}, vector_checksum, record_checksum) "
            f"VALUES ({places})",
            (
                (*fields, checksum, checksum_of_record(fields, jpeg=picture.thumbnail))
                for picture, fields, checksum in zip(
                    pictures, map(_fields, kept), checksums, strict=True
                )
            ),
        )
        self._connection.executemany(
            "INSERT INTO thumbnails VALUES (?, ?)",
            (
                (one.key, picture.thumbnail)
                for one, picture in zip(kept, pictures, strict=True)
                if picture.thumbnail is not None
            ),
        )
        state = replace(state, last_key=state.last_key + len(kept))
        self._count(state, added=len(kept), removed=num_replaced, stamp=stamp)
        return kept

    def remove(self, keys: Sequence[int], *, erases: bool) -> int:
        """Delete records, thumbnails included; see the port."""
        state = self.state()
        statement = f"DELETE FROM pictures WHERE key {_AMONG}"
        count = self._connection.execute(statement, (_array(keys),)).rowcount
        self._count(replace(state, is_erasing=state.is_erasing or erases), removed=count)
        return count

    def keep_vectors_state(self, state: str) -> None:
        """Keep how the vectors are found."""
        write_state(self._connection, replace(self.state(), vectors=state))

    def forget_removed(self) -> None:
        """Forget the keys of removed pictures."""
        self._connection.execute("DELETE FROM removed")
        write_state(self._connection, replace(self.state(), num_removed=0))

    def end_erasure(self) -> None:
        """Note that no erasure is pending."""
        write_state(self._connection, replace(self.state(), is_erasing=False))

    def calibrate(self, calibrations: Sequence[Calibration]) -> None:
        """Keep calibrations."""
        state = self.state()
        described = replace(state.description, calibrations=tuple(calibrations))
        write_state(self._connection, replace(state, description=described))

    def note(self, entry: AuditEntry) -> None:
        """Append a line to the audit log."""
        fields = (entry.at, entry.action.value, entry.subject, entry.num_pictures)
        self._connection.execute(
            "INSERT INTO audit (at, action, subject, num_pictures, checksum) "
            "VALUES (?, ?, ?, ?, ?)",
            (*fields, checksum_of_record(fields)),
        )

    def _count(
        self,
        state: RecordsState,
        *,
        added: int = 0,
        removed: int = 0,
        stamp: EncoderStamp | None = None,
    ) -> None:
        known = state.description
        described = replace(
            known,
            stamp=known.stamp or stamp,
            num_pictures=known.num_pictures + added - removed,
            version=known.version + 1,
        )
        num_removed = state.num_removed + removed
        write_state(
            self._connection, replace(state, description=described, num_removed=num_removed)
        )


def _fields(picture: KeptPicture) -> tuple[Any, ...]:
    return tuple(getattr(picture, name) for name in _FIELDS)


def _picture(fields: Sequence[Any]) -> KeptPicture:
    found = dict(zip(_FIELDS, fields, strict=True))
    for name, value in found.items():
        wanted = int if name == "key" else str
        if not isinstance(value, wanted) and not (value is None and name in _PERHAPS_NONE):
            raise DamagedRecordError(f"{name} of picture {fields[0]!r} is none")
    return KeptPicture(**found)


def _condition(within: GalleryFilter) -> tuple[str, list[str]]:
    """Write a filter in SQL, with the values of its question marks."""
    parts: list[tuple[str, str]] = []
    if within.cameras is not None:
        parts.append((f"camera {_AMONG}", _array(within.cameras)))
    if within.without_cameras:
        parts.append((f"(camera IS NULL OR camera NOT {_AMONG})", _array(within.without_cameras)))
    if within.labels is not None:
        parts.append((f"label {_AMONG}", _array(within.labels)))
    if within.added_from is not None:
        parts.append(("added_at >= ?", within.added_from))
    if within.added_until is not None:
        parts.append(("added_at < ?", within.added_until))
    return " AND ".join(part for part, _ in parts) or "1", [value for _, value in parts]


def _array(values: Iterable[int] | Iterable[str]) -> str:
    return json.dumps([value for value in values if isinstance(value, int) or is_keepable(value)])
