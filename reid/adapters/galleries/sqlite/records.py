"""Records of a gallery in SQLite.

Every row carries a checksum. That of the state is compared whenever it is read, all others by
`faults`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from reid.adapters.galleries.sqlite.memory_database import Connections
from reid.adapters.galleries.sqlite.reader import (
    AMONG,
    COLUMNS,
    FIELDS,
    SqliteReader,
    as_json_array,
)
from reid.adapters.galleries.sqlite.schema import (
    checksum_of_record,
    write_state,
)
from reid.domain.values.galleries import (
    AuditEntry,
    Calibration,
    EncoderFingerprint,
    KeptImage,
    NewImage,
    RecordsState,
)


class SqliteRecords:
    """Keeps records in a SQLite database."""

    def __init__(self, database: Connections) -> None:
        """Keep the database, which has the tables of a gallery."""
        self._database = database

    @property
    def place(self) -> str:
        """Name of the database."""
        return self._database.place

    @property
    def residual_traces(self) -> None:
        """None: the file is rewritten, and its log is emptied."""
        return None

    @contextmanager
    def reading(self) -> Iterator[SqliteReader]:
        """Begin a transaction that sees one state."""
        with self._database.reading() as connection:
            yield SqliteReader(connection, self._database)

    @contextmanager
    def writing(self, *, waits: bool = True) -> Iterator["SqliteWriter"]:
        """Begin a transaction as the one writer."""
        with self._database.writing(waits=waits) as connection:
            yield SqliteWriter(connection, self._database)

    def reclaim(self, *, is_thorough: bool) -> None:  # noqa: ARG002
        """Rewrite the file, which is always thorough."""
        self._database.scrub()

    def close(self) -> None:
        """Close the connections."""
        self._database.close()


class SqliteWriter(SqliteReader):
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
        num_replaced = self._connection.executemany(
            "DELETE FROM images WHERE source = ? AND name = ?",
            ((image.source, image.name) for image in images),
        ).rowcount
        kept = tuple(
            KeptImage.of(image, key=key, added_at=at)
            for key, image in enumerate(images, state.last_key + 1)
        )
        places = ", ".join("?" * (len(FIELDS) + 2))
        self._connection.executemany(
            f"INSERT INTO images ({COLUMNS}, vector_checksum, record_checksum) VALUES ({places})",
            (
                (*fields, checksum, checksum_of_record(fields, jpeg=image.thumbnail))
                for image, fields, checksum in zip(
                    images, map(_fields, kept), checksums, strict=True
                )
            ),
        )
        self._connection.executemany(
            "INSERT INTO thumbnails VALUES (?, ?)",
            (
                (one.key, image.thumbnail)
                for one, image in zip(kept, images, strict=True)
                if image.thumbnail is not None
            ),
        )
        state = replace(state, last_key=state.last_key + len(kept))
        self._count(state, added=len(kept), removed=num_replaced, fingerprint=fingerprint)
        return kept

    def remove(self, keys: Sequence[int], *, erases: bool) -> int:
        """Delete records, thumbnails included; see the port."""
        state = self.state()
        statement = f"DELETE FROM images WHERE key {AMONG}"
        count = self._connection.execute(statement, (as_json_array(keys),)).rowcount
        self._count(replace(state, is_erasing=state.is_erasing or erases), removed=count)
        return count

    def keep_vectors_state(self, state: str) -> None:
        """Keep how the vectors are found."""
        write_state(self._connection, replace(self.state(), vectors=state))

    def forget_removed(self) -> None:
        """Forget the keys of removed images."""
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
        fields = (entry.at, entry.action.value, entry.subject, entry.num_images)
        self._connection.execute(
            "INSERT INTO audit (at, action, subject, num_images, checksum) VALUES (?, ?, ?, ?, ?)",
            (*fields, checksum_of_record(fields)),
        )

    def _count(
        self,
        state: RecordsState,
        *,
        added: int = 0,
        removed: int = 0,
        fingerprint: EncoderFingerprint | None = None,
    ) -> None:
        known = state.description
        described = replace(
            known,
            fingerprint=known.fingerprint or fingerprint,
            num_images=known.num_images + added - removed,
            version=known.version + 1,
        )
        num_removed = state.num_removed + removed
        write_state(
            self._connection, replace(state, description=described, num_removed=num_removed)
        )


def _fields(image: KeptImage) -> tuple[Any, ...]:
    return tuple(getattr(image, name) for name in FIELDS)
