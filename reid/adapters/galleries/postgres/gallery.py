"""A gallery in PostgreSQL with pgvector: one server, many clients, filters in SQL.

Every change is a transaction, the line of the audit log in it.

What erasing means here: the rows go with their audit line in one transaction, and VACUUM then
takes them out of table and indexes, unless another connection still reads a state from before.
Bytes of them can stay in the free room of pages until it is used again or `compact` rewrites the
table, in the server's write-ahead log until it is recycled, and in backups: those are the server's.

Letters: G images kept, N images added, Q queries, D width, K answers.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Unpack

import numpy as np
import torch
from psycopg.rows import class_row
from psycopg.sql import SQL
from psycopg.types.json import Jsonb
from torch import Tensor

from reid.adapters.galleries.calibrations import from_plain, to_plain
from reid.adapters.galleries.checks import (
    NORM_TOLERANCE,
    check_additions,
    check_question,
    checksum_of,
    require_kept,
)
from reid.adapters.galleries.postgres.search import RowSearch, as_array, each_vector
from reid.adapters.galleries.postgres.sessions import Connection, Sessions
from reid.adapters.galleries.postgres.tables import IMAGE_COLUMNS, Tables, selected
from reid.adapters.galleries.words import after_removal, unknown_gallery
from reid.domain.errors import GalleryError
from reid.domain.values.galleries import (
    EVERYTHING,
    AuditAction,
    AuditEntry,
    Calibration,
    EncoderFingerprint,
    GalleryDescription,
    GalleryFilter,
    ImageLookup,
    KeptImage,
    NewImage,
    admitted_values,
    with_calibrations,
)
from reid.domain.values.ranking import Neighbours

EXACT_UP_TO = 10_000
"""Images compared exactly: beyond, reading their vectors takes longer than walking a graph."""


class PostgresGallery:
    """Keeps images of one tenant in the tables of one gallery."""

    def __init__(
        self,
        address: str,
        *,
        name: str = "gallery",
        create: bool = True,
        tenant: str = "",
        recall: float = 0.95,
        exact_up_to: int = EXACT_UP_TO,
        lock_seconds: float = 30,
    ) -> None:
        """Connect, and make the tables where there are none and they are wanted.

        Args:
            address: Of the database, as libpq takes it: `postgresql://user@host/database`.
            name: Of the gallery: its tables begin with it.
            create: Make an empty gallery where there is none.
            tenant: Whose images; others in the same tables are never seen.
            recall: Wanted share of nearest neighbours found where a graph is searched.
            exact_up_to: Images of the tenant up to which no graph is used.
            lock_seconds: How long to wait for another writer.

        Raises:
            GalleryError: The database cannot be reached or has no pgvector, the name is none, or
                there is no such gallery and none is to be made.
        """
        self._tables = Tables(name, tenant)
        self._sessions = Sessions(
            address, self._tables, lock_seconds=lock_seconds, makes_extension=create
        )
        self._search = RowSearch(
            self._sessions, self._tables, recall=recall, exact_up_to=exact_up_to
        )
        try:
            # Looked for first: who may change rows need not be one who may make tables.
            if not self._is_there():
                if not create:
                    raise unknown_gallery(self.place, name=name)
                self._create_tables()
        except GalleryError:
            self.close()
            raise

    @property
    def place(self) -> str:
        """Server, database and gallery; without the password."""
        return self._sessions.place

    @property
    def is_exact(self) -> bool:
        """Whether no graph is used."""
        return self._sessions.state().expansion is None

    @property
    def recall(self) -> float:
        """As measured last; 1 where no graph is used."""
        measured = self._sessions.state().recall
        return 1.0 if measured is None else measured

    @property
    def residual_traces(self) -> str:
        """Pages and logs of the server; see the module."""
        return (
            "in free room of the table's pages until reid gallery compact rewrites them, and in "
            "the server's write-ahead log, its archive and replicas until it is recycled there, "
            "which whoever runs the server sees to"
        )

    def describe(self) -> GalleryDescription:
        """Read the tenant's row."""
        state = self._sessions.state()
        return GalleryDescription(
            fingerprint=state.encoder,
            num_images=state.num_images,
            calibrations=from_plain(state.calibration),
            version=state.version,
        )

    def images(self, **wanted: Unpack[ImageLookup]) -> tuple[KeptImage, ...]:
        """List images; see the port."""
        asked: dict[str, object] = {
            f"{name} = any(%s)": list(values) for name, values in admitted_values(wanted).items()
        }
        if (expired_at := wanted.get("expired_at")) is not None:
            asked["expires_at <= %s"] = expired_at
        return self._listed("".join(f"and {part} " for part in asked), [*asked.values()])

    def page(self, *, after: int, limit: int) -> tuple[KeptImage, ...]:
        """List the next images; see the port."""
        return self._listed("and key > %s ", [after], limit=limit)

    def vectors(self, keys: Sequence[int]) -> Tensor:
        """Look up vectors; see the port."""
        statement = self._tables.statement(
            "select key, vector from {images} where {own} and key = any(%s)"
        )
        with self._sessions.reading() as connection:
            state = self._sessions.read_state(connection)
            rows = connection.execute(statement, [list(keys)], binary=True)
            found = {key: as_array(vector) for key, vector in rows}
        require_kept(keys, found, place=self.place)
        width = 0 if state.encoder is None else state.encoder.width
        known = [found[key] for key in keys]
        return torch.from_numpy(np.stack(known)) if known else torch.empty((0, width))

    def thumbnail(self, key: int) -> bytes | None:
        """Look up a thumbnail."""
        statement = self._tables.statement(
            "select thumbnail from {images} where {own} and key = %s"
        )
        with self._sessions.reading() as connection:
            row = connection.execute(statement, [key]).fetchone()
        return None if row is None else row[0]

    def without_thumbnail(self, keys: Sequence[int]) -> frozenset[int]:
        """Say which have none."""
        statement = self._tables.statement(
            "select key from {images} where {own} and thumbnail is null and key = any(%s)"
        )
        with self._sessions.reading() as connection:
            return frozenset(key for (key,) in connection.execute(statement, [list(keys)]))

    def add(
        self,
        images: Sequence[NewImage],
        vectors: Tensor,
        *,
        fingerprint: EncoderFingerprint,
        entry: AuditEntry,
    ) -> tuple[int, ...]:
        """Keep images in one transaction; see the port."""
        with self._sessions.writing() as connection:
            state = self._sessions.read_state(connection)
            check_additions(
                images, vectors, fingerprint=fingerprint, kept=state.encoder, place=self.place
            )
            replaced = connection.execute(
                self._tables.statement(
                    "delete from {images} where {own} and (source, image) in "
                    "(select * from unnest(%s::text[], %s::text[]))"
                ),
                [[p.source for p in images], [p.name for p in images]],
            ).rowcount
            keys = self._insert(connection, images, vectors.detach().cpu().float(), at=entry.at)
            connection.execute(
                self._tables.statement("update {state} set fingerprint = %s where {own}"),
                [Jsonb(asdict(state.encoder or fingerprint))],
            )
            self._count(connection, len(keys) - replaced, entry=entry)
        # The images are kept already; the next addition looks after the graph again.
        with suppress(GalleryError):
            self._search.tend_graph()
        return keys

    def remove(self, keys: Sequence[int], *, entry: AuditEntry) -> int:
        """Stop keeping images; see the port."""
        with self._sessions.writing() as connection:
            removed = connection.execute(
                self._tables.statement("delete from {images} where {own} and key = any(%s)"),
                [list(keys)],
            ).rowcount
            self._count(connection, -removed, entry=entry)
        return removed

    def erase(self, keys: Sequence[int], *, entry: AuditEntry) -> int:
        """Remove images, then have the server clear their rows; see the module."""
        removed = self.remove(keys, entry=entry)
        with after_removal(), self._sessions.connected() as connection:
            connection.execute(
                self._tables.statement("vacuum (index_cleanup on, truncate on) {images}")
            )
        return removed

    def search(self, queries: Tensor, k: int, *, within: GalleryFilter = EVERYTHING) -> Neighbours:
        """Rank images; see the port."""
        with self._sessions.reading() as connection:
            state = self._sessions.read_state(connection)
            check_question(queries, k=k, fingerprint=state.encoder, num_images=state.num_images)
            num_answers = min(k, state.num_images)
            return self._search.rank(connection, state, queries, num_answers, within=within)

    def calibrate(self, calibrations: Sequence[Calibration], *, entry: AuditEntry) -> None:
        """Keep how similarities become decisions."""
        with self._sessions.writing() as connection:
            before = from_plain(self._sessions.read_state(connection).calibration)
            kept = Jsonb(to_plain(with_calibrations(before, calibrations)))
            connection.execute(
                self._tables.statement("update {state} set calibration = %s where {own}"), [kept]
            )
            self._write(connection, entry)

    def note(self, entry: AuditEntry) -> None:
        """Write a line of the audit log."""
        with self._sessions.writing() as connection:
            self._write(connection, entry)

    def audit(self) -> tuple[AuditEntry, ...]:
        """Read the audit log."""
        statement = self._tables.statement(
            "select at, action, subject, num_images from {audit} where {own} order by number"
        )
        with self._sessions.reading() as connection:
            return tuple(
                AuditEntry(at=at, action=AuditAction(action), subject=subject, num_images=count)
                for at, action, subject, count in connection.execute(statement)
            )

    def check(self) -> tuple[str, ...]:
        """Look for damage: counts, widths, norms, checksums of vectors, and the graph."""
        with self._sessions.reading() as connection:
            state = self._sessions.read_state(connection)
            faults = [
                fault
                for key, vector, checksum in each_vector(connection, self._tables)
                for fault in _faults_of(key, vector, checksum, encoder=state.encoder)
            ]
            counted = connection.execute(
                self._tables.statement("select count(*) from {images} where {own}")
            ).fetchone()
            graph = connection.execute(
                "select indisvalid from pg_index where indexrelid = to_regclass(%s)",
                [self._tables.graph_name],
            ).fetchone()
        if counted != (state.num_images,):
            faults.append(f"{(counted or (0,))[0]} images are kept, not {state.num_images}")
        if state.expansion is not None and graph != (True,):
            faults.append(f"the index {self._tables.graph_name} is missing or invalid: compact")
        return tuple(f"{self.place}: {fault}" for fault in faults)

    def compact(self) -> None:
        """Rewrite the table and its indexes, which locks it, and measure recall again."""
        with self._sessions.connected() as connection:
            connection.execute(self._tables.statement("vacuum (full, analyze) {images}"))
        self._search.tend_graph(is_forced=True)

    def close(self) -> None:
        """Close the connection."""
        self._sessions.close()

    def _listed(
        self, condition: str, values: Sequence[object], *, limit: int | None = None
    ) -> tuple[KeptImage, ...]:
        """List images under a condition on columns, by ascending key."""
        statement = self._tables.statement(
            "select {columns} from {images} where {own} " + condition + "order by key limit %s",
            columns=selected(IMAGE_COLUMNS),
        )
        with (
            self._sessions.reading() as connection,
            connection.cursor(row_factory=class_row(KeptImage)) as rows,
        ):
            return tuple(rows.execute(statement, [*values, limit]))

    def _create_tables(self) -> None:
        with self._sessions.connected() as connection, connection.transaction():
            # Two that open at once would both find nothing there.
            connection.execute("select pg_advisory_xact_lock(hashtext('reid'))")
            for statement in self._tables.create():
                connection.execute(statement)

    def _is_there(self) -> bool:
        """Whether somebody has built this tenant's gallery."""
        with self._sessions.reading() as connection:
            name = self._tables.state.as_string(connection)
            if connection.execute("select to_regclass(%s)", [name]).fetchone() == (None,):
                return False
            statement = self._tables.statement("select from {state} where {own}")
            return connection.execute(statement).fetchone() is not None

    def _insert(
        self,
        connection: Connection,
        images: Sequence[NewImage],
        vectors: Tensor,
        *,
        at: str,
    ) -> tuple[int, ...]:
        keys = [
            key
            for (key,) in connection.execute(
                "select nextval(pg_get_serial_sequence(%s, 'key')) from generate_series(1, %s)",
                [self._tables.images.as_string(connection), len(images)],
            )
        ]
        columns = (*IMAGE_COLUMNS, "tenant", "thumbnail", "vector", "checksum")
        statement = self._tables.statement(
            "insert into {images} ({columns}) values ({values})",
            columns=selected(columns),
            values=SQL(", ").join(
                [SQL("%b") if column == "vector" else SQL("%s") for column in columns]
            ),
        )
        with connection.cursor() as cursor:
            cursor.executemany(
                statement,
                (
                    (
                        key,
                        p.name,
                        p.source,
                        p.content,
                        p.label,
                        p.camera,
                        at,
                        p.expires_at,
                        self._tables.tenant,
                        p.thumbnail,
                        vector,
                        checksum_of(vector),
                    )
                    for key, p, vector in zip(keys, images, vectors.numpy(), strict=True)
                ),
            )
        return tuple(keys)

    def _count(self, connection: Connection, change: int, *, entry: AuditEntry) -> None:
        connection.execute(
            self._tables.statement(
                "update {state} set version = version + 1, num_images = num_images + %s where {own}"
            ),
            [change],
        )
        self._write(connection, entry)

    def _write(self, connection: Connection, entry: AuditEntry) -> None:
        connection.execute(
            self._tables.statement(
                "insert into {audit} (tenant, at, action, subject, num_images) "
                "values ({tenant}, %s, %s, %s, %s)"
            ),
            [entry.at, entry.action.value, entry.subject, entry.num_images],
        )


def _faults_of(
    key: int, vector: np.ndarray, checksum: int, *, encoder: EncoderFingerprint | None
) -> Iterator[str]:
    if checksum_of(vector) != checksum:
        yield f"the vector of image {key} is not what was added"
    if encoder is None or len(vector) != encoder.width:
        yield f"the vector of image {key} has width {len(vector)}"
    if not abs(float(np.linalg.norm(vector)) - 1) <= NORM_TOLERANCE:
        yield f"the vector of image {key} is not of unit norm"
