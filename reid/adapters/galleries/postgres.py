"""A gallery in PostgreSQL with pgvector: one server, many clients, filters in SQL.

Every change is a transaction, the line of the audit log in it. Up to a stated number of pictures
of a tenant, and where a filter admits no more than that, vectors are compared exactly; beyond, an
HNSW graph over float16 finds candidates, which are compared exactly. Its effort is chosen for the
wanted recall, which is measured when the graph is built, when the gallery has doubled, and by
`compact`.

What erasing means here: the rows go with their audit line in one transaction, and VACUUM then
takes them out of table and indexes, unless another connection still reads a state from before.
Bytes of them can stay in the free room of pages until it is used again or `compact` rewrites the
table, in the server's write-ahead log until it is recycled, and in backups: those are the server's.

Letters: G pictures kept, N pictures added, Q queries, D width, K answers, P probes.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Unpack

import numpy as np
import psycopg
import torch
from pgvector.psycopg import register_vector
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import class_row
from psycopg.sql import SQL, Literal
from psycopg.types.json import Jsonb
from torch import Tensor

from reid.adapters.galleries.calibrations import from_plain, to_plain
from reid.adapters.galleries.checks import NORM_TOLERANCE, check_additions, check_question
from reid.adapters.galleries.missing import unknown_gallery
from reid.adapters.galleries.postgres_tables import (
    LARGEST_EXPANSION,
    LARGEST_INDEXED_WIDTH,
    PICTURE_COLUMNS,
    Tables,
    checksum_of,
    condition_of,
    selected,
)
from reid.domain.errors import GalleryError
from reid.domain.values.galleries import (
    EVERYTHING,
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
    with_calibrations,
)
from reid.domain.values.ranking import Neighbours

EXACT_UP_TO = 10_000
"""Pictures compared exactly: beyond, reading their vectors takes longer than walking a graph."""

_EXPANSIONS = (40, 80, 160, 320, 640, LARGEST_EXPANSION)
_NUM_PROBES = 200
_ROWS_AT_ONCE = 2000
_MEASURED_AGAIN_AT = 2
"""Factor of growth after which recall is measured again."""

_SAME_DISTANCE = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    """The row of a tenant."""

    stamp: dict[str, Any] | None
    calibration: list[dict[str, Any]] | dict[str, Any] | None
    version: int
    num_pictures: int
    expansion: int | None
    """Of a search in the graph; None: there is no graph."""

    recall: float | None
    measured_at: int | None
    """Pictures there were when recall was measured."""

    @property
    def encoder(self) -> EncoderStamp | None:
        return None if self.stamp is None else EncoderStamp(**self.stamp)


class PostgresGallery:
    """Keeps pictures of one tenant in the tables of one gallery."""

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
            tenant: Whose pictures; others in the same tables are never seen.
            recall: Wanted share of nearest neighbours found where a graph is searched.
            exact_up_to: Pictures of the tenant up to which no graph is used.
            lock_seconds: How long to wait for another writer.

        Raises:
            GalleryError: The database cannot be reached or has no pgvector, the name is none, or
                there is no such gallery and none is to be made.
        """
        self._tables = Tables(name, tenant)
        self._address = address
        self._wanted_recall = recall
        self._exact_up_to = exact_up_to
        self._lock_seconds = lock_seconds
        self._place = _place_of(address, name=name, tenant=tenant)
        self._opened: psycopg.Connection[Any] | None = None
        self._is_closed = False
        self._makes_extension = create
        if create:
            self._create_tables()
        elif not self._is_there():
            self.close()
            raise unknown_gallery(self._place, name=name)

    @property
    def place(self) -> str:
        """Server, database and gallery; without the password."""
        return self._place

    @property
    def is_exact(self) -> bool:
        """Whether no graph is used."""
        return self._state().expansion is None

    @property
    def recall(self) -> float:
        """As measured last; 1 where no graph is used."""
        measured = self._state().recall
        return 1.0 if measured is None else measured

    @property
    def beyond_erasing(self) -> str:
        """Pages and logs of the server; see the module."""
        return (
            "in free room of the table's pages until reid gallery compact rewrites them, and in "
            "the server's write-ahead log, its archive and replicas until it is recycled there, "
            "which whoever runs the server sees to"
        )

    def describe(self) -> GalleryDescription:
        """Read the tenant's row."""
        state = self._state()
        return GalleryDescription(
            stamp=state.encoder,
            num_pictures=state.num_pictures,
            calibrations=from_plain(state.calibration),
            version=state.version,
        )

    def pictures(self, **wanted: Unpack[PictureLookup]) -> tuple[KeptPicture, ...]:
        """List pictures; see the port."""
        asked: dict[str, object] = {
            f"{name} = any(%s)": list(values) for name, values in admitted_values(wanted).items()
        }
        if (expired_at := wanted.get("expired_at")) is not None:
            asked["expires_at <= %s"] = expired_at
        return self._listed("".join(f"and {part} " for part in asked), [*asked.values()])

    def page(self, *, after: int, limit: int) -> tuple[KeptPicture, ...]:
        """List the next pictures; see the port."""
        return self._listed("and key > %s ", [after], limit=limit)

    def vectors(self, keys: Sequence[int]) -> Tensor:
        """Look up vectors; see the port."""
        statement = self._tables.statement(
            "select key, vector from {pictures} where {own} and key = any(%s)"
        )
        with self._reading() as connection:
            state = self._read_state(connection)
            rows = connection.execute(statement, [list(keys)], binary=True)
            found = {key: _as_array(vector) for key, vector in rows}
        missing = next((key for key in keys if key not in found), None)
        if missing is not None:
            raise GalleryError(f"{self._place} keeps no picture with the key {missing}")
        width = 0 if state.encoder is None else state.encoder.width
        known = [found[key] for key in keys]
        return torch.from_numpy(np.stack(known)) if known else torch.empty((0, width))

    def thumbnail(self, key: int) -> bytes | None:
        """Look up a thumbnail."""
        statement = self._tables.statement(
            "select thumbnail from {pictures} where {own} and key = %s"
        )
        with self._reading() as connection:
            row = connection.execute(statement, [key]).fetchone()
        return None if row is None else row[0]

    def without_thumbnail(self, keys: Sequence[int]) -> frozenset[int]:
        """Say which have none."""
        statement = self._tables.statement(
            "select key from {pictures} where {own} and thumbnail is null and key = any(%s)"
        )
        with self._reading() as connection:
            return frozenset(key for (key,) in connection.execute(statement, [list(keys)]))

    def add(
        self,
        pictures: Sequence[NewPicture],
        vectors: Tensor,
        *,
        stamp: EncoderStamp,
        entry: AuditEntry,
    ) -> tuple[int, ...]:
        """Keep pictures in one transaction; see the port."""
        with self._writing() as connection:
            state = self._read_state(connection)
            check_additions(pictures, vectors, stamp=stamp, kept=state.encoder, place=self._place)
            replaced = connection.execute(
                self._tables.statement(
                    "delete from {pictures} where {own} and (source, image) in "
                    "(select * from unnest(%s::text[], %s::text[]))"
                ),
                [[p.source for p in pictures], [p.image for p in pictures]],
            ).rowcount
            keys = self._insert(connection, pictures, vectors.detach().cpu().float(), at=entry.at)
            connection.execute(
                self._tables.statement("update {state} set stamp = %s where {own}"),
                [Jsonb(asdict(state.encoder or stamp))],
            )
            self._count(connection, len(keys) - replaced, entry=entry)
        self._tend_graph()
        return keys

    def remove(self, keys: Sequence[int], *, entry: AuditEntry) -> int:
        """Stop keeping pictures; see the port."""
        with self._writing() as connection:
            removed = connection.execute(
                self._tables.statement("delete from {pictures} where {own} and key = any(%s)"),
                [list(keys)],
            ).rowcount
            self._count(connection, -removed, entry=entry)
        return removed

    def erase(self, keys: Sequence[int], *, entry: AuditEntry) -> int:
        """Remove pictures, then have the server clear their rows; see the module."""
        removed = self.remove(keys, entry=entry)
        with self._connected() as connection:
            connection.execute(
                self._tables.statement("vacuum (index_cleanup on, truncate on) {pictures}")
            )
        return removed

    def search(self, queries: Tensor, k: int, *, within: GalleryFilter = EVERYTHING) -> Neighbours:
        """Rank pictures; see the port."""
        admitted, values = condition_of(within)
        with self._reading() as connection:
            state = self._read_state(connection)
            encoder = state.encoder
            check_question(queries, k=k, stamp=encoder, num_pictures=state.num_pictures)
            num_answers = min(k, state.num_pictures)
            is_exact = (
                state.expansion is None
                or 2 * num_answers > LARGEST_EXPANSION
                or self._admits_few(connection, within)
            )
            if not is_exact:
                self._prepare_walk(connection, state.expansion or 0, num_answers=num_answers)
            statement = self._tables.nearest(
                width=queries.shape[1], is_exact=is_exact, admitted=admitted
            )
            values |= {"k": num_answers, "num_candidates": 2 * num_answers}
            return _ask(connection, statement, queries, values=values, num_answers=num_answers)

    def calibrate(self, calibrations: Sequence[Calibration], *, entry: AuditEntry) -> None:
        """Keep how similarities become decisions."""
        with self._writing() as connection:
            before = from_plain(self._read_state(connection).calibration)
            kept = Jsonb(to_plain(with_calibrations(before, calibrations)))
            connection.execute(
                self._tables.statement("update {state} set calibration = %s where {own}"), [kept]
            )
            self._write(connection, entry)

    def note(self, entry: AuditEntry) -> None:
        """Write a line of the audit log."""
        with self._writing() as connection:
            self._write(connection, entry)

    def audit(self) -> tuple[AuditEntry, ...]:
        """Read the audit log."""
        statement = self._tables.statement(
            "select at, action, subject, num_pictures from {audit} where {own} order by number"
        )
        with self._reading() as connection:
            return tuple(
                AuditEntry(at=at, action=AuditAction(action), subject=subject, num_pictures=count)
                for at, action, subject, count in connection.execute(statement)
            )

    def check(self) -> tuple[str, ...]:
        """Look for damage: counts, widths, norms, checksums of vectors, and the graph."""
        with self._reading() as connection:
            state = self._read_state(connection)
            faults = [
                fault
                for key, vector, checksum in self._all_vectors(connection)
                for fault in _faults_of(key, vector, checksum, encoder=state.encoder)
            ]
            counted = connection.execute(
                self._tables.statement("select count(*) from {pictures} where {own}")
            ).fetchone()
            graph = connection.execute(
                "select indisvalid from pg_index where indexrelid = to_regclass(%s)",
                [self._tables.graph_name],
            ).fetchone()
        if counted != (state.num_pictures,):
            faults.append(f"{(counted or (0,))[0]} pictures are kept, not {state.num_pictures}")
        if state.expansion is not None and graph != (True,):
            faults.append(f"the index {self._tables.graph_name} is missing or invalid: compact")
        return tuple(f"{self._place}: {fault}" for fault in faults)

    def compact(self) -> None:
        """Rewrite the table and its indexes, which locks it, and measure recall again."""
        with self._connected() as connection:
            connection.execute(self._tables.statement("vacuum (full, analyze) {pictures}"))
        self._tend_graph(is_forced=True)

    def close(self) -> None:
        """Close the connection."""
        self._is_closed = True
        if self._opened is not None:
            self._opened.close()

    def _listed(
        self, condition: str, values: Sequence[object], *, limit: int | None = None
    ) -> tuple[KeptPicture, ...]:
        """List pictures under a condition on columns, by ascending key."""
        statement = self._tables.statement(
            "select {columns} from {pictures} where {own} " + condition + "order by key limit %s",
            columns=selected(PICTURE_COLUMNS),
        )
        with (
            self._reading() as connection,
            connection.cursor(row_factory=class_row(KeptPicture)) as rows,
        ):
            return tuple(rows.execute(statement, [*values, limit]))

    def _create_tables(self) -> None:
        with self._connected() as connection, connection.transaction():
            # Two that open at once would both find nothing there.
            connection.execute("select pg_advisory_xact_lock(hashtext('reid'))")
            for statement in self._tables.create():
                connection.execute(statement)

    def _is_there(self) -> bool:
        """Whether somebody has built this tenant's gallery."""
        with self._reading() as connection:
            name = self._tables.state.as_string(connection)
            if connection.execute("select to_regclass(%s)", [name]).fetchone() == (None,):
                return False
            statement = self._tables.statement("select from {state} where {own}")
            return connection.execute(statement).fetchone() is not None

    @contextmanager
    def _connected(self) -> Iterator[psycopg.Connection[Any]]:
        """Give a connection, a new one where the server closed the last; translate errors."""
        if self._is_closed:
            raise GalleryError(f"{self._place} was closed: open it again")
        try:
            if self._opened is None or self._opened.closed:
                self._opened = _connect(
                    self._address,
                    lock_seconds=self._lock_seconds,
                    makes_extension=self._makes_extension,
                )
            yield self._opened
        except psycopg.errors.LockNotAvailable as error:
            raise GalleryError(
                f"{self._place} is being changed by somebody else for more than "
                f"{self._lock_seconds:g} s: try again later"
            ) from error
        except (psycopg.Error, UnicodeEncodeError) as error:
            raise GalleryError(f"{self._place}: {str(error).strip()}") from error

    @contextmanager
    def _reading(self) -> Iterator[psycopg.Connection[Any]]:
        """Give a transaction that sees one state."""
        with self._connected() as connection, connection.transaction():
            connection.execute("set transaction isolation level repeatable read, read only")
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[psycopg.Connection[Any]]:
        """Give a transaction as the tenant's one writer."""
        with self._connected() as connection, connection.transaction():
            connection.execute(self._tables.statement("select from {state} where {own} for update"))
            yield connection

    def _state(self) -> _State:
        with self._reading() as connection:
            return self._read_state(connection)

    def _read_state(self, connection: psycopg.Connection[Any]) -> _State:
        columns = selected(tuple(_State.__slots__))
        statement = self._tables.statement(
            "select {columns} from {state} where {own}", columns=columns
        )
        with connection.cursor(row_factory=class_row(_State)) as rows:
            state = rows.execute(statement).fetchone()
        if state is None:
            raise GalleryError(f"{self._place}: the row of its state is missing; build it again")
        return state

    def _insert(
        self,
        connection: psycopg.Connection[Any],
        pictures: Sequence[NewPicture],
        vectors: Tensor,
        *,
        at: str,
    ) -> tuple[int, ...]:
        keys = [
            key
            for (key,) in connection.execute(
                "select nextval(pg_get_serial_sequence(%s, 'key')) from generate_series(1, %s)",
                [self._tables.pictures.as_string(connection), len(pictures)],
            )
        ]
        columns = (*PICTURE_COLUMNS, "tenant", "thumbnail", "vector", "checksum")
        statement = self._tables.statement(
            "insert into {pictures} ({columns}) values ({values})",
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
                        p.image,
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
                    for key, p, vector in zip(keys, pictures, vectors.numpy(), strict=True)
                ),
            )
        return tuple(keys)

    def _count(
        self, connection: psycopg.Connection[Any], change: int, *, entry: AuditEntry
    ) -> None:
        connection.execute(
            self._tables.statement(
                "update {state} set version = version + 1, num_pictures = num_pictures + %s "
                "where {own}"
            ),
            [change],
        )
        self._write(connection, entry)

    def _write(self, connection: psycopg.Connection[Any], entry: AuditEntry) -> None:
        connection.execute(
            self._tables.statement(
                "insert into {audit} (tenant, at, action, subject, num_pictures) "
                "values ({tenant}, %s, %s, %s, %s)"
            ),
            [entry.at, entry.action.value, entry.subject, entry.num_pictures],
        )

    def _admits_few(self, connection: psycopg.Connection[Any], within: GalleryFilter) -> bool:
        """Whether a filter leaves no more than is compared exactly."""
        if within == EVERYTHING:
            return False
        admitted, values = condition_of(within)
        statement = self._tables.statement(
            "select count(*) from (select from {pictures} where {own} and {admitted} "
            "limit %(most)s) as looked_at",
            admitted=admitted,
        )
        row = connection.execute(statement, values | {"most": self._exact_up_to + 1}).fetchone()
        return row is None or row[0] <= self._exact_up_to

    def _prepare_walk(
        self, connection: psycopg.Connection[Any], expansion: int, *, num_answers: int
    ) -> None:
        """Set how the graph is searched until the transaction ends."""
        wide = min(LARGEST_EXPANSION, max(expansion, 2 * num_answers))
        for setting in (
            SQL("set local hnsw.ef_search = {}").format(Literal(wide)),
            SQL("set local hnsw.iterative_scan = relaxed_order"),
            SQL("set local hnsw.max_scan_tuples = 200000"),
            # Of few rows the planner would rather sort all, which costs what it does not expect:
            # each vector lies in a page of its own.
            SQL("set local enable_seqscan = off"),
            SQL("set local enable_sort = off"),
        ):
            connection.execute(setting)

    def _tend_graph(self, *, is_forced: bool = False) -> None:
        """Build the graph where it is missing, and measure where it has grown."""
        state = self._state()
        encoder = state.encoder
        if encoder is None or encoder.width > LARGEST_INDEXED_WIDTH:
            return
        if state.expansion is None and state.num_pictures <= self._exact_up_to:
            return
        measured_at = state.measured_at or 0
        if not is_forced and state.num_pictures < _MEASURED_AGAIN_AT * measured_at:
            return
        with self._writing() as connection:
            connection.execute(self._tables.create_graph(encoder.width))
        with self._reading() as connection:
            expansion, recall = self._measure(connection, encoder.width)
        with self._writing() as connection:
            connection.execute(
                self._tables.statement(
                    "update {state} set expansion = %s, recall = %s, measured_at = num_pictures "
                    "where {own}"
                ),
                [expansion, recall],
            )

    def _measure(self, connection: psycopg.Connection[Any], width: int) -> tuple[int, float]:
        """Choose the least effort that finds enough of the probes' nearest other pictures."""
        keys, probes, nearest = self._draw_probes(connection)
        statement = self._tables.nearest(width=width, is_exact=False, admitted=SQL("true"))
        expansion, recall = _EXPANSIONS[-1], 1.0
        for expansion in _EXPANSIONS:
            self._prepare_walk(connection, expansion, num_answers=2)
            found = _ask(
                connection,
                statement,
                probes,
                values={"k": 2, "num_candidates": 20},
                num_answers=2,
            )
            others = found.distances.masked_fill(found.indices == keys[:, None], torch.inf)
            recall = float((others.amin(dim=1) <= nearest + _SAME_DISTANCE).double().mean())
            if recall >= self._wanted_recall:
                break
        return expansion, recall

    def _draw_probes(self, connection: psycopg.Connection[Any]) -> tuple[Tensor, Tensor, Tensor]:
        """Take pictures, evenly spread, and find how near the nearest other one is.

        Returns:
            (P,) keys, (P, D) vectors, (P,) distances.
        """
        drawn = connection.execute(
            self._tables.statement(
                "select key, vector from (select key, vector, row_number() over (order by key) "
                "as place, count(*) over () as total from {pictures} where {own}) as numbered "
                "where place %% greatest(total / %s, 1) = 0 limit %s"
            ),
            [_NUM_PROBES, _NUM_PROBES],
            binary=True,
        ).fetchall()
        keys = torch.tensor([key for key, _ in drawn])
        probes = torch.from_numpy(np.stack([_as_array(vector) for _, vector in drawn]))
        nearest = torch.full((len(keys),), torch.inf)
        for part in _batches(self._all_vectors(connection)):
            own = torch.tensor([key for key, _, _ in part])
            rows = torch.from_numpy(np.stack([vector for _, vector, _ in part]))
            away = (1 - probes @ rows.T).clamp(min=0)  # (P, B)
            away[keys[:, None] == own[None]] = torch.inf
            nearest = torch.minimum(nearest, away.amin(dim=1))
        return keys, probes, nearest

    def _all_vectors(
        self, connection: psycopg.Connection[Any]
    ) -> Iterator[tuple[int, np.ndarray, int]]:
        """Read all vectors, a few thousand at a time."""
        with connection.cursor("vectors", binary=True) as rows:
            rows.itersize = _ROWS_AT_ONCE
            rows.execute(
                self._tables.statement("select key, vector, checksum from {pictures} where {own}")
            )
            for key, vector, checksum in rows:
                yield key, _as_array(vector), checksum


def _connect(
    address: str, *, lock_seconds: float, makes_extension: bool
) -> psycopg.Connection[Any]:
    connection = psycopg.connect(address, autocommit=True, application_name="reid")
    try:
        # Nothing is asked of those who may not make extensions where it is there already.
        is_there = connection.execute(
            "select from pg_extension where extname = 'vector'"
        ).fetchone()
        if is_there is None and makes_extension:
            connection.execute("create extension if not exists vector")
        if is_there is not None or makes_extension:  # without it there is no gallery to read
            register_vector(connection)
        connection.execute(SQL("set lock_timeout = {}").format(Literal(round(1000 * lock_seconds))))
    except BaseException:
        connection.close()
        raise
    return connection


def _place_of(address: str, *, name: str, tenant: str) -> str:
    try:
        parts = conninfo_to_dict(address)
    except psycopg.ProgrammingError as error:
        raise GalleryError(
            f"gallery.postgres.address is no address of a database ({str(error).strip()}): write "
            "postgresql://user@host/database"
        ) from error
    server = f"{parts.get('host', 'localhost')}/{parts.get('dbname', '')}"
    return f"the gallery {name}" + (f" of {tenant}" if tenant else "") + f" in PostgreSQL {server}"


def _ask(
    connection: psycopg.Connection[Any],
    statement: Any,  # noqa: ANN401  (a composed statement)
    queries: Tensor,
    *,
    values: dict[str, object],
    num_answers: int,
) -> Neighbours:
    """Run a statement per query; keys and distances, -1 and infinity where there are fewer."""
    indices = torch.full((len(queries), num_answers), -1)  # (Q, K)
    found = torch.full((len(queries), num_answers), torch.inf)  # (Q, K)
    for row, query in enumerate(queries.detach().cpu().float().numpy()):
        answers = connection.execute(statement, values | {"query": query}).fetchall()
        indices[row, : len(answers)] = torch.tensor([key for key, _ in answers], dtype=torch.int64)
        found[row, : len(answers)] = torch.tensor([away for _, away in answers])
    return Neighbours(indices=indices, distances=found)


def _as_array(vector: Any) -> np.ndarray:  # noqa: ANN401  (pgvector's, or numpy's by its version)
    values = vector if isinstance(vector, np.ndarray) else vector.to_numpy()
    return np.array(values, dtype=np.float32)


def _batches(
    rows: Iterator[tuple[int, np.ndarray, int]],
) -> Iterator[list[tuple[int, np.ndarray, int]]]:
    batch: list[tuple[int, np.ndarray, int]] = []
    for row in rows:
        batch.append(row)
        if len(batch) == _ROWS_AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch


def _faults_of(
    key: int, vector: np.ndarray, checksum: int, *, encoder: EncoderStamp | None
) -> Iterator[str]:
    if checksum_of(vector) != checksum:
        yield f"the vector of picture {key} is not what was added"
    if encoder is None or len(vector) != encoder.width:
        yield f"the vector of picture {key} has width {len(vector)}"
    if not abs(float(np.linalg.norm(vector)) - 1) <= NORM_TOLERANCE:
        yield f"the vector of picture {key} is not of unit norm"
