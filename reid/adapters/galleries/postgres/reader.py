"""One state of the records of a gallery in PostgreSQL."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Unpack

from psycopg.rows import class_row

from reid.adapters.galleries.postgres.sessions import Connection
from reid.adapters.galleries.postgres.tables import (
    IMAGE_COLUMNS,
    Tables,
    condition_of,
    selected,
)
from reid.domain.errors import GalleryError
from reid.domain.values.galleries import (
    AuditAction,
    AuditEntry,
    Calibration,
    EncoderFingerprint,
    GalleryDescription,
    GalleryFilter,
    ImageLookup,
    KeptImage,
    RecordsState,
    admitted_values,
)


class PostgresReader:
    """One state of the records."""

    def __init__(self, connection: Connection, tables: Tables, *, place: str) -> None:
        """Keep a connection within a transaction."""
        self._connection = connection
        self._tables = tables
        self._place = place

    def state(self) -> RecordsState:
        """Read the tenant's row."""
        found = self._rows(
            "select version, num_images, last_key, is_erasing, vectors, fingerprint, calibrations, "
            "(select count(*) from {removed} where {own}) from {state} where {own}"
        )
        if not found:
            raise GalleryError(
                f"{self._place}: the row of its state is missing; build the gallery again"
            )
        version, num_images, last_key, is_erasing, vectors, fingerprint, calibrations, gone = found[
            0
        ]
        try:
            description = GalleryDescription(
                fingerprint=None if fingerprint is None else EncoderFingerprint(**fingerprint),
                num_images=num_images,
                calibrations=tuple(Calibration(**calibration) for calibration in calibrations),
                version=version,
            )
        except TypeError as error:
            raise GalleryError(
                f"{self._place} is damaged: its encoder or calibrations cannot be read: {error}"
            ) from error
        return RecordsState(
            description=description,
            last_key=last_key,
            num_removed=gone,
            is_erasing=is_erasing,
            vectors=vectors,
        )

    def images(self, **wanted: Unpack[ImageLookup]) -> tuple[KeptImage, ...]:
        """List images by ascending key; see the port."""
        asked: dict[str, object] = {
            f"{name} = any(%s)": list(values) for name, values in admitted_values(wanted).items()
        }
        if (expired_at := wanted.get("expired_at")) is not None:
            asked["expires_at <= %s"] = expired_at
        return self._listed("".join(f"and {part} " for part in asked), *asked.values())

    def page(self, *, after: int, limit: int) -> tuple[KeptImage, ...]:
        """List the next images."""
        return self._listed("and key > %s ", after, limit=limit)

    def admitted(self, keys: Sequence[int], *, within: GalleryFilter) -> frozenset[int]:
        """Choose the keys that are kept and admitted."""
        return frozenset(self._admitted("key = any(%(keys)s)", within, keys=list(keys)))

    def all_admitted(self, *, within: GalleryFilter) -> Sequence[int]:
        """List the keys that a filter admits."""
        return self._admitted("true", within)

    def checksums(self, keys: Sequence[int]) -> Mapping[int, int]:
        """Look up the checksums of vectors."""
        asked = "select key, vector_checksum from {images} where {own} and key = any(%s)"
        return dict(self._rows(asked, list(keys)))

    def thumbnail(self, key: int) -> bytes | None:
        """Look up a thumbnail."""
        found = self._rows("select thumbnail from {images} where {own} and key = %s", key)
        return found[0][0] if found else None

    def without_thumbnail(self, keys: Sequence[int]) -> frozenset[int]:
        """Choose the keys without a thumbnail."""
        asked = "select key from {images} where {own} and thumbnail is null and key = any(%s)"
        return frozenset(key for (key,) in self._rows(asked, list(keys)))

    def removed(self) -> tuple[int, ...]:
        """List the keys of removed images."""
        found = self._rows("select key from {removed} where {own} order by key")
        return tuple(key for (key,) in found)

    def audit(self) -> tuple[AuditEntry, ...]:
        """Read the audit log."""
        found = self._rows(
            "select at, action, subject, num_images from {audit} where {own} order by number"
        )
        return tuple(
            AuditEntry(at=at, action=AuditAction(action), subject=subject, num_images=count)
            for at, action, subject, count in found
        )

    def faults(self) -> Iterator[str]:
        """Compare counts and keys; rows are the server's to check."""
        state = self.state()
        ((counted, last_key),) = self._rows(
            "select count(*), coalesce(max(key), 0) from {images} where {own}"
        )
        if counted != state.description.num_images:
            yield f"{counted} images are kept, not {state.description.num_images}"
        if last_key > state.last_key:
            yield f"image {last_key} is recorded, keys up to {state.last_key} were given"

    def require_in_place(self) -> None:
        """Do nothing: tables are not replaced while a transaction reads them."""

    def _admitted(self, also: str, within: GalleryFilter, **values: object) -> list[int]:
        condition, parameters = condition_of(within)
        statement = self._tables.statement(
            f"select key from {{images}} where {{own}} and {also} and {{condition}} order by key",
            condition=condition,
        )
        return [key for (key,) in self._connection.execute(statement, parameters | values)]

    def _rows(self, text: str, *values: object) -> list[Any]:
        return self._connection.execute(self._tables.statement(text), values).fetchall()

    def _listed(
        self, condition: str, *values: object, limit: int | None = None
    ) -> tuple[KeptImage, ...]:
        statement = self._tables.statement(
            "select {columns} from {images} where {own} " + condition + "order by key limit %s",
            columns=selected(IMAGE_COLUMNS),
        )
        with self._connection.cursor(row_factory=class_row(KeptImage)) as rows:
            return tuple(rows.execute(statement, [*values, limit]))
