"""One state of the records of a gallery in SQLite."""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Unpack

from reid.adapters.galleries.filters import conditions_in
from reid.adapters.galleries.sqlite.memory_database import Connections
from reid.adapters.galleries.sqlite.schema import (
    DamagedRecordError,
    checksum_of_record,
    read_state,
)
from reid.domain.values.galleries import (
    AuditAction,
    AuditEntry,
    GalleryFilter,
    ImageLookup,
    KeptImage,
    RecordsState,
    admitted_values,
    is_keepable,
)

FIELDS = tuple(KeptImage.__slots__)
COLUMNS = ", ".join(FIELDS)
"""The columns of a kept image, in the order of its fields."""

_PERHAPS_NONE = {"camera", "expires_at"}
AMONG = "IN (SELECT value FROM json_each(?))"
_CONDITIONS = {
    "cameras": f"camera {AMONG}",
    "without_cameras": f"(camera IS NULL OR camera NOT {AMONG})",
    "labels": f"label {AMONG}",
    "added_from": "added_at >= ?",
    "added_until": "added_at < ?",
}
"""SQL of a filter's fields."""


class SqliteReader:
    """One state of the records."""

    def __init__(self, connection: sqlite3.Connection, database: Connections) -> None:
        """Keep a connection within a transaction."""
        self._connection = connection
        self._database = database

    def state(self) -> RecordsState:
        """Read the line of state."""
        return read_state(self._connection)

    def images(self, **wanted: Unpack[ImageLookup]) -> tuple[KeptImage, ...]:
        """List images by ascending key; see the port."""
        among = admitted_values(wanted)
        asked = [(f"{name} {AMONG}", as_json_array(values)) for name, values in among.items()]
        if (expired_at := wanted.get("expired_at")) is not None:
            asked.append(("expires_at <= ?", expired_at))
        condition = " AND ".join(part for part, _ in asked) or "1"
        return self._listed(f"{condition} ORDER BY key", *(value for _, value in asked))

    def page(self, *, after: int, limit: int) -> tuple[KeptImage, ...]:
        """List the next images."""
        return self._listed("key > ? ORDER BY key LIMIT ?", after, limit)

    def admitted(self, keys: Sequence[int], *, within: GalleryFilter) -> frozenset[int]:
        """Choose the keys that are kept and admitted."""
        condition, values = _condition(within)
        return frozenset(
            self._numbers(f"key {AMONG} AND {condition}", as_json_array(keys), *values)
        )

    def all_admitted(self, *, within: GalleryFilter) -> Sequence[int]:
        """List the keys that a filter admits."""
        condition, values = _condition(within)
        return self._numbers(f"{condition} ORDER BY key", *values)

    def checksums(self, keys: Sequence[int]) -> Mapping[int, int]:
        """Look up the checksums of vectors."""
        statement = f"SELECT key, vector_checksum FROM images WHERE key {AMONG}"
        return dict(self._connection.execute(statement, (as_json_array(keys),)))

    def thumbnail(self, key: int) -> bytes | None:
        """Look up a thumbnail."""
        statement = "SELECT jpeg FROM thumbnails WHERE key = ?"
        found = self._connection.execute(statement, (key,)).fetchone()
        return None if found is None else bytes(found[0])

    def without_thumbnail(self, keys: Sequence[int]) -> frozenset[int]:
        """Choose the keys without a thumbnail."""
        lacks = "NOT EXISTS (SELECT 1 FROM thumbnails WHERE thumbnails.key = images.key)"
        return frozenset(self._numbers(f"key {AMONG} AND {lacks}", as_json_array(keys)))

    def removed(self) -> tuple[int, ...]:
        """List the keys of removed images."""
        found = self._connection.execute("SELECT key FROM removed ORDER BY key")
        return tuple(key for (key,) in found)

    def audit(self) -> tuple[AuditEntry, ...]:
        """Read the audit log."""
        found = self._connection.execute(
            "SELECT at, action, subject, num_images FROM audit ORDER BY number"
        )
        try:
            return tuple(
                AuditEntry(at=at, action=AuditAction(action), subject=subject, num_images=count)
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
            "SELECT (SELECT count(*) FROM images), (SELECT coalesce(max(key), 0) FROM images), "
            "(SELECT count(*) FROM removed)"
        ).fetchone()
        if counted != state.description.num_images or num_removed != state.num_removed:
            yield f"{counted} images are recorded, {state.description.num_images} were counted"
        if last_key > state.last_key:
            yield f"image {last_key} is recorded, keys up to {state.last_key} were given"
        yield from self._faults_of_lines()

    def require_in_place(self) -> None:
        """See the port."""
        self._database.require_in_place(self._connection)

    def _faults_of_lines(self) -> Iterator[str]:
        orphans = "SELECT key FROM thumbnails WHERE key NOT IN (SELECT key FROM images)"
        for (key,) in self._connection.execute(orphans):
            yield f"a thumbnail of image {key} is kept, the image is not"
        found = self._connection.execute(
            f"SELECT {COLUMNS}, record_checksum, jpeg FROM images LEFT JOIN thumbnails "
            "USING (key) ORDER BY key"
        )
        for *fields, checksum, jpeg in found:
            image = _image(fields)
            if checksum_of_record(fields, jpeg=jpeg) != checksum:
                yield (
                    f"the record of {image.name} of {image.source} (key {image.key}) is "
                    "damaged: remove the image"
                )
        for number, *fields, checksum in self._connection.execute("SELECT * FROM audit"):
            if checksum_of_record(fields) != checksum:
                yield f"line {number} of the audit log is not what was written"

    def _listed(self, condition: str, *values: object) -> tuple[KeptImage, ...]:
        statement = f"SELECT {COLUMNS} FROM images WHERE {condition}"
        return tuple(map(_image, self._connection.execute(statement, values)))

    def _numbers(self, condition: str, *values: object) -> list[int]:
        statement = f"SELECT key FROM images WHERE {condition}"
        return [key for (key,) in self._connection.execute(statement, values)]


def _image(fields: Sequence[Any]) -> KeptImage:
    found = dict(zip(FIELDS, fields, strict=True))
    for name, value in found.items():
        wanted = int if name == "key" else str
        if not isinstance(value, wanted) and not (value is None and name in _PERHAPS_NONE):
            raise DamagedRecordError(f"{name} of image {fields[0]!r} is of another type")
    return KeptImage(**found)


def _condition(within: GalleryFilter) -> tuple[str, list[str]]:
    """Write a filter in SQL, with the values of its question marks."""
    asked = conditions_in(within)
    values = [one if isinstance(one, str) else as_json_array(one) for one in asked.values()]
    return " AND ".join(_CONDITIONS[name] for name in asked) or "1", values


def as_json_array(values: Iterable[int] | Iterable[str]) -> str:
    """Write values for `AMONG`; texts that no gallery keeps are left out."""
    return json.dumps([value for value in values if isinstance(value, int) or is_keepable(value)])
