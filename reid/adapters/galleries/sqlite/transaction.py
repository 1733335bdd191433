"""A transaction of a gallery's records in SQLite.

The file may be hostile, and any column of SQLite can hold any type, so what is read is checked.
"""

import json
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from reid.adapters.galleries.sql_records import (
    COLUMNS,
    FIELDS,
    DamagedRecordError,
    RecordsTransaction,
    Value,
    image_of,
)
from reid.adapters.galleries.sqlite.tables import checksum_of, write_state
from reid.domain.values.galleries import AuditEntry, KeptImage, NewImage

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

    def require_in_place(self) -> None:
        """See the port."""
        if self._require_in_place is not None:
            self._require_in_place()

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

    def _run(self, text: str, **values: Value) -> sqlite3.Cursor:
        return self._connection.execute(
            _in_sqlite(text),
            {
                name: value if isinstance(value, str | int) else json.dumps(list(value))
                for name, value in values.items()
            },
        )

    def _state_row(self) -> Sequence[Any]:
        found = self._connection.execute("SELECT * FROM state WHERE id = 1").fetchone()
        if found is None or checksum_of(found[1:-1]) != found[-1]:
            raise DamagedRecordError("the line of its state is not what was written")
        return tuple(found[1:-1])

    def _write_state(self, fields: Mapping[str, int | str]) -> None:
        write_state(self._connection, fields)

    def _insert(
        self, kept: Sequence[KeptImage], images: Sequence[NewImage], checksums: Sequence[int]
    ) -> None:
        self._connection.executemany(
            f"INSERT INTO images ({COLUMNS}, vector_checksum, record_checksum) "
            f"VALUES ({', '.join('?' * (len(FIELDS) + 2))})",
            _rows(kept, images, checksums),
        )
        jpegs = ((one.key, image.thumbnail) for one, image in zip(kept, images, strict=True))
        self._connection.executemany(
            "INSERT INTO thumbnails VALUES (?, ?)", (row for row in jpegs if row[1] is not None)
        )

    def _delete(self, condition: str, **values: Value) -> int:
        # A trigger deletes the thumbnails and lists the keys.
        return self._run(f"delete from {{images}} where {condition}", **values).rowcount


def _rows(
    kept: Sequence[KeptImage], images: Sequence[NewImage], checksums: Sequence[int]
) -> Iterable[tuple[Any, ...]]:
    for one, image, checksum in zip(kept, images, checksums, strict=True):
        fields = tuple(getattr(one, name) for name in FIELDS)
        yield *fields, checksum, checksum_of(fields, jpeg=image.thumbnail)


@cache
def _in_sqlite(text: str) -> str:
    return re.sub(r"among (:\w+)", r"in (select value from json_each(\1))", text.format_map(_NAMES))
