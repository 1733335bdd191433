"""What a gallery's SQLite file says: state, pictures, audit log, indexes.

Functions take a connection within a transaction. Rows are those of the file of vectors. They ascend
with the keys, so that what ties by row ties by key.
"""

import json
import re
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass

from reid.adapters.galleries.calibrations import from_plain, to_plain
from reid.adapters.galleries.filesystem.database import DamagedRecordError
from reid.domain.values.galleries import (
    AuditAction,
    AuditEntry,
    Calibration,
    EncoderStamp,
    GalleryDescription,
    GalleryFilter,
    KeptPicture,
    NewPicture,
    PictureLookup,
    admitted_values,
    is_keepable,
)

_FIELDS = tuple(KeptPicture.__slots__)
_COLUMNS = ", ".join(_FIELDS)
_AMONG = "IN (SELECT value FROM json_each(?))"
_KIND = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")


@dataclass(frozen=True, slots=True)
class GalleryState:
    """The one line that says how the files are to be read."""

    version: int
    generation: int
    """Which file of vectors counts."""

    num_rows: int
    """Of that file; what lies beyond is of no account."""

    num_pictures: int
    stamp: EncoderStamp | None
    calibrations: tuple[Calibration, ...]

    @property
    def num_holes(self) -> int:
        """Rows of pictures that are no longer kept."""
        return self.num_rows - self.num_pictures

    @property
    def width(self) -> int:
        """D; 0 while nothing was added."""
        return 0 if self.stamp is None else self.stamp.width

    def described(self) -> GalleryDescription:
        """Say it to the outside."""
        return GalleryDescription(
            stamp=self.stamp,
            num_pictures=self.num_pictures,
            calibrations=self.calibrations,
            version=self.version,
        )


@dataclass(frozen=True, slots=True)
class IndexRecord:
    """A file that holds a search index."""

    kind: str
    file: str
    generation: int
    num_rows: int
    """It covers so many rows from the first on."""

    num_bytes: int
    checksum: int


@dataclass(frozen=True, slots=True)
class Checksums:
    """What a picture's record and vector must agree with."""

    picture: KeptPicture
    row: int
    vector: int
    record: int
    thumbnail: bytes | None


def read_state(connection: sqlite3.Connection) -> GalleryState:
    """Read the state."""
    version, generation, num_rows, num_pictures, stamp, calibration = connection.execute(
        "SELECT version, generation, num_rows, num_pictures, stamp, calibration FROM state"
    ).fetchone()
    _require_counts(version, generation, num_rows, num_pictures)
    return GalleryState(
        version=version,
        generation=generation,
        num_rows=num_rows,
        num_pictures=num_pictures,
        stamp=None if stamp is None else EncoderStamp(**json.loads(stamp)),
        calibrations=from_plain(None if calibration is None else json.loads(calibration)),
    )


def write_rows(
    connection: sqlite3.Connection,
    state: GalleryState,
    *,
    num_rows: int,
    num_pictures: int,
    generation: int | None = None,
) -> None:
    """Say which rows count from now on, and how many pictures they are of."""
    connection.execute(
        "UPDATE state SET version = ?, generation = ?, num_rows = ?, num_pictures = ?",
        (state.version + 1, generation or state.generation, num_rows, num_pictures),
    )


def write_stamp(connection: sqlite3.Connection, stamp: EncoderStamp) -> None:
    """Say which encoder made the vectors."""
    content = asdict(stamp) | {"options": dict(stamp.options)}
    connection.execute("UPDATE state SET stamp = ?", (json.dumps(content),))


def write_calibrations(connection: sqlite3.Connection, calibrations: Sequence[Calibration]) -> None:
    """Say how similarities become decisions."""
    content = json.dumps(to_plain(calibrations))
    connection.execute("UPDATE state SET calibration = ?", (content,))


def insert_pictures(
    connection: sqlite3.Connection,
    pictures: Sequence[NewPicture],
    *,
    first_row: int,
    checksums: Sequence[int],
    at: str,
) -> tuple[int, ...]:
    """Write records of rows that follow one another; none of the same name may be there.

    Returns:
        Keys that were never given before.
    """
    # Not in the schema: galleries from before pictures were asked for by content lack it.
    connection.execute("CREATE INDEX IF NOT EXISTS pictures_by_content ON pictures (content)")
    found = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'pictures'").fetchone()
    first = 1 + (found[0] if found else 0)
    keys = tuple(range(first, first + len(pictures)))
    for row, (key, picture, checksum) in enumerate(
        zip(keys, pictures, checksums, strict=True), start=first_row
    ):
        kept = KeptPicture.of(picture, key=key, added_at=at)
        connection.execute(
            f"INSERT INTO pictures ({_COLUMNS}, row, vector_checksum, record_checksum) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*_fields(kept), row, checksum, record_checksum(kept, picture.thumbnail)),
        )
    connection.executemany(
        "INSERT INTO thumbnails VALUES (?, ?)",
        (
            (key, picture.thumbnail)
            for key, picture in zip(keys, pictures, strict=True)
            if picture.thumbnail is not None
        ),
    )
    return keys


def delete_namesakes(connection: sqlite3.Connection, pictures: Sequence[NewPicture]) -> int:
    """Delete records of the same sources and images; count those there were."""
    return connection.executemany(
        "DELETE FROM pictures WHERE source = ? AND image = ?",
        ((picture.source, picture.image) for picture in pictures),
    ).rowcount


def delete_pictures(connection: sqlite3.Connection, keys: Sequence[int]) -> int:
    """Delete records, thumbnails included; count those there were."""
    done = connection.execute(f"DELETE FROM pictures WHERE key {_AMONG}", (_array(keys),))
    return done.rowcount


def renumber_rows(connection: sqlite3.Connection) -> None:
    """Close the gaps between rows, in their order."""
    moved = [
        (new, old) for new, old in enumerate(rows_of_pictures(connection)) if new != old
    ]  # ascending, and never upwards: no two pictures share a row in between
    connection.executemany("UPDATE pictures SET row = ? WHERE row = ?", moved)


def rows_of_pictures(
    connection: sqlite3.Connection, within: GalleryFilter | None = None
) -> list[int]:
    """List the rows of pictures, ascending: all, or those that a filter admits."""
    condition, values = _condition(within or GalleryFilter())
    found = connection.execute(f"SELECT row FROM pictures WHERE {condition} ORDER BY row", values)
    return [row for (row,) in found]


def rows_of_keys(connection: sqlite3.Connection, keys: Sequence[int]) -> dict[int, int]:
    """Look up the rows of keys; unknown keys are left out."""
    return dict(
        connection.execute(f"SELECT key, row FROM pictures WHERE key {_AMONG}", (_array(keys),))
    )


def keys_of_rows(
    connection: sqlite3.Connection, rows: Iterable[int], *, within: GalleryFilter
) -> dict[int, int]:
    """Look up the keys of rows; holes, and what the filter does not admit, are left out."""
    condition, values = _condition(within)
    return dict(
        connection.execute(
            f"SELECT row, key FROM pictures WHERE row {_AMONG} AND {condition}",
            (_array(rows), *values),
        )
    )


def read_pictures(connection: sqlite3.Connection, wanted: PictureLookup) -> tuple[KeptPicture, ...]:
    """List pictures by ascending key."""
    among = admitted_values(wanted)
    asked = [(f"{name} {_AMONG}", _array(values)) for name, values in among.items()]
    if (expired_at := wanted.get("expired_at")) is not None:
        asked.append(("expires_at <= ?", expired_at))
    condition = " AND ".join(part for part, _ in asked) or "1"
    found = connection.execute(
        f"SELECT {_COLUMNS} FROM pictures WHERE {condition} ORDER BY key",
        [value for _, value in asked],
    )
    return tuple(_picture(fields) for fields in found)


def read_page(connection: sqlite3.Connection, *, after: int, limit: int) -> tuple[KeptPicture, ...]:
    """List the next pictures by ascending key."""
    found = connection.execute(
        f"SELECT {_COLUMNS} FROM pictures WHERE key > ? ORDER BY key LIMIT ?", (after, limit)
    )
    return tuple(_picture(fields) for fields in found)


def read_thumbnail(connection: sqlite3.Connection, key: int) -> bytes | None:
    """Look up a thumbnail."""
    found = connection.execute("SELECT jpeg FROM thumbnails WHERE key = ?", (key,)).fetchone()
    return None if found is None else bytes(found[0])


def keys_without_thumbnail(connection: sqlite3.Connection, keys: Sequence[int]) -> frozenset[int]:
    """Say which pictures have no thumbnail."""
    found = connection.execute(
        f"SELECT key FROM pictures WHERE key {_AMONG} AND NOT EXISTS "
        "(SELECT 1 FROM thumbnails WHERE thumbnails.key = pictures.key)",
        (_array(keys),),
    )
    return frozenset(key for (key,) in found)


def write_audit(connection: sqlite3.Connection, entry: AuditEntry) -> None:
    """Append a line to the audit log."""
    connection.execute(
        "INSERT INTO audit (at, action, subject, num_pictures) VALUES (?, ?, ?, ?)",
        (entry.at, entry.action.value, entry.subject, entry.num_pictures),
    )


def read_audit(connection: sqlite3.Connection) -> tuple[AuditEntry, ...]:
    """Read the audit log, oldest first."""
    found = connection.execute(
        "SELECT at, action, subject, num_pictures FROM audit ORDER BY number"
    )
    return tuple(
        AuditEntry(at=at, action=AuditAction(action), subject=subject, num_pictures=count)
        for at, action, subject, count in found
    )


def write_index(connection: sqlite3.Connection, record: IndexRecord) -> None:
    """Put an index in the place of the one of its kind."""
    connection.execute(
        "INSERT OR REPLACE INTO indexes (kind, file, generation, num_rows, num_bytes, checksum) "
        "VALUES (:kind, :file, :generation, :num_rows, :num_bytes, :checksum)",
        asdict(record),
    )


def delete_indexes(connection: sqlite3.Connection) -> None:
    """Say that no index covers anything any longer."""
    connection.execute("DELETE FROM indexes")


def read_indexes(connection: sqlite3.Connection, *, generation: int) -> tuple[IndexRecord, ...]:
    """List the indexes of a file of vectors."""
    found = connection.execute(
        "SELECT kind, file, generation, num_rows, num_bytes, checksum FROM indexes "
        "WHERE generation = ? ORDER BY kind",
        (generation,),
    )
    return tuple(_index_record(*fields) for fields in found)


def index_name(*, generation: int, num_rows: int, kind: str) -> str:
    """Name the file of an index."""
    return f"index-{generation}-{num_rows}-{kind}.bin"


def read_checksums(connection: sqlite3.Connection) -> Iterator[Checksums]:
    """Read what is to be checked, by row."""
    found = connection.execute(
        f"SELECT {_COLUMNS}, row, vector_checksum, record_checksum, jpeg "
        "FROM pictures LEFT JOIN thumbnails USING (key) ORDER BY row"
    )
    for *fields, row, vector, record, jpeg in found:
        yield Checksums(
            picture=_picture(fields), row=row, vector=vector, record=record, thumbnail=jpeg
        )


def find_faults(connection: sqlite3.Connection) -> Iterator[str]:
    """Look for what the tables contradict each other in."""
    for (verdict,) in connection.execute("PRAGMA integrity_check(10)"):
        if verdict != "ok":
            yield f"the database is damaged: {verdict}"
    state = read_state(connection)
    counts = connection.execute(
        "SELECT count(*), coalesce(max(row) + 1, 0) FROM pictures"
    ).fetchone()
    if counts[0] != state.num_pictures:
        yield f"{counts[0]} pictures are recorded, {state.num_pictures} were counted"
    if counts[1] > state.num_rows:
        yield f"a picture's vector lies in row {counts[1] - 1} of {state.num_rows}"
    orphans = "SELECT key FROM thumbnails WHERE key NOT IN (SELECT key FROM pictures)"
    for (key,) in connection.execute(orphans):
        yield f"a thumbnail of picture {key} is kept, the picture is not"


def record_checksum(picture: KeptPicture, thumbnail: bytes | None) -> int:
    """CRC-32 of a record with its thumbnail."""
    return zlib.crc32(thumbnail or b"", zlib.crc32(json.dumps(_fields(picture)).encode()))


def _index_record(
    kind: object, file: object, generation: object, num_rows: object, *counts: object
) -> IndexRecord:
    """Check a record of a file; the file is opened and deleted by this name.

    Raises:
        DamagedRecordError: It is another name than this program gives, or a number is none.
    """
    _require_counts(generation, num_rows, *counts)
    own = index_name(generation=generation, num_rows=num_rows, kind=str(kind))  # type: ignore[arg-type]  # checked above
    if not isinstance(kind, str) or not _KIND.fullmatch(kind) or file != own:
        raise DamagedRecordError(f"it names {str(file)[:80]!r} as the file of an index")
    return IndexRecord(kind, own, generation, num_rows, *counts)  # type: ignore[arg-type]  # checked above


def _require_counts(*found: object) -> None:
    """Refuse what is no count: any column of SQLite can hold any text.

    Raises:
        DamagedRecordError: Something is no whole number, or below 0.
    """
    for value in found:
        if not isinstance(value, int) or value < 0:
            raise DamagedRecordError(f"{str(value)[:80]!r} stands where a count should")


def _fields(picture: KeptPicture) -> tuple[int | str | None, ...]:
    return (
        picture.key,
        picture.image,
        picture.source,
        picture.content,
        picture.label,
        picture.camera,
        picture.added_at,
        picture.expires_at,
    )


def _picture(fields: Sequence[object]) -> KeptPicture:
    return KeptPicture(**dict(zip(_FIELDS, fields, strict=True)))  # type: ignore[arg-type]


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
