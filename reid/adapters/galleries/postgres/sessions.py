"""Sessions with a PostgreSQL server, and the row of a tenant that says what is kept.

Errors of the server are turned into the user's words here.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from pgvector.psycopg import register_vector
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import class_row
from psycopg.sql import SQL, Literal

from reid.adapters.galleries.postgres.tables import Tables, selected
from reid.domain.errors import GalleryError
from reid.domain.values.galleries import EncoderFingerprint

Connection = psycopg.Connection[Any]

_UNLESS_SAID: Mapping[str, str | int] = {
    "application_name": "reid",
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
"""Seconds, and milliseconds: by itself a system waits for hours for the answer of a machine that
was switched off, or cut off from the network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """The row of a tenant."""

    fingerprint: dict[str, Any] | None
    calibration: list[dict[str, Any]] | dict[str, Any] | None
    version: int
    num_images: int
    expansion: int | None
    """Of a search in the graph; None: there is no graph."""

    recall: float | None
    measured_at: int | None
    """Images there were when recall was measured."""

    @property
    def encoder(self) -> EncoderFingerprint | None:
        """Which encoder made what is kept."""
        return None if self.fingerprint is None else EncoderFingerprint(**self.fingerprint)


class Sessions:
    """Lends one connection, opened anew where the server closed the last."""

    def __init__(
        self, address: str, tables: Tables, *, lock_seconds: float, makes_extension: bool
    ) -> None:
        """Keep the address; nothing is opened yet.

        Args:
            address: Of the database, as libpq takes it.
            tables: Of the gallery, and whose rows of them.
            lock_seconds: How long to wait for another writer.
            makes_extension: Whether pgvector is to be made where it is not.

        Raises:
            GalleryError: It is no address.
        """
        self._address = address
        self._tables = tables
        self._lock_seconds = lock_seconds
        self._makes_extension = makes_extension
        self._opened: Connection | None = None
        self._is_closed = False
        self.place = _place_of(address, name=tables.name, tenant=tables.tenant)
        """Server, database and gallery; without the password."""

    @contextmanager
    def connected(self) -> Iterator[Connection]:
        """Give a connection, each statement a transaction of its own.

        Raises:
            GalleryError: The server cannot be reached or refuses, or another writer takes too long.
        """
        if self._is_closed:
            raise GalleryError(f"{self.place} was closed: open it again")
        try:
            if self._opened is None or _was_ended(self._opened):
                self._opened = _connect(
                    self._address,
                    lock_seconds=self._lock_seconds,
                    makes_extension=self._makes_extension,
                )
            yield self._opened
        except psycopg.errors.LockNotAvailable as error:
            raise GalleryError(
                f"{self.place} is being changed by somebody else for more than "
                f"{self._lock_seconds:g} s: try again later"
            ) from error
        except (psycopg.Error, UnicodeEncodeError) as error:
            raise GalleryError(f"{self.place}: {str(error).strip()}") from error

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Give a transaction that sees one state."""
        with self.connected() as connection, connection.transaction():
            connection.execute("set transaction isolation level repeatable read, read only")
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Give a transaction as the tenant's one writer."""
        with self.connected() as connection, connection.transaction():
            connection.execute(self._tables.statement("select from {state} where {own} for update"))
            yield connection

    def state(self) -> State:
        """Read the newest state."""
        with self.reading() as connection:
            return self.read_state(connection)

    def read_state(self, connection: Connection) -> State:
        """Read the state that a transaction sees.

        Raises:
            GalleryError: Its row has gone.
        """
        columns = selected(tuple(State.__slots__))
        statement = self._tables.statement(
            "select {columns} from {state} where {own}", columns=columns
        )
        with connection.cursor(row_factory=class_row(State)) as rows:
            state = rows.execute(statement).fetchone()
        if state is None:
            raise GalleryError(f"{self.place}: the row of its state is missing; build it again")
        return state

    def close(self) -> None:
        """Close the connection; none is opened any more."""
        self._is_closed = True
        if self._opened is not None:
            self._opened.close()


def _connect(address: str, *, lock_seconds: float, makes_extension: bool) -> Connection:
    said = conninfo_to_dict(address)
    rest = {name: value for name, value in _UNLESS_SAID.items() if name not in said}
    connection = psycopg.connect(make_conninfo(address, **rest), autocommit=True)
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


def _was_ended(connection: Connection) -> bool:
    """Whether the server has closed a connection since it was used last, at the cost of a look.

    Without it, whoever asks first after the server was restarted would be told so.
    """
    try:
        # The first look can find the server's words of farewell, the second that it has gone.
        for _ in range(2):
            connection.pgconn.consume_input()
    except psycopg.OperationalError:
        connection.close()
    return connection.closed


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
