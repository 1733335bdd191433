"""Sessions with a PostgreSQL server, whose errors are explained to users."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Lock, local
from typing import Any

import psycopg
from pgvector.psycopg import register_vector
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from reid.adapters.galleries.postgres.tables import Tables
from reid.adapters.galleries.sql_records import DamagedRecordError, damaged
from reid.domain.errors import GalleryError

Connection = psycopg.Connection[Any]

_UNLESS_GIVEN: Mapping[str, str | int] = {
    "application_name": "reid",
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
"""Seconds, and milliseconds. By default a system waits for hours for a machine that was switched
off or cut off from the network."""

_OF_SERVER = {
    "tcp_keepalives_idle": 30,
    "tcp_keepalives_interval": 10,
    "tcp_keepalives_count": 3,
}
"""The same at the other end: a client that was cut off holds its lock for a minute only."""


@dataclass(frozen=True, slots=True)
class Session:
    """A connection, and the tables that its statements are about."""

    connection: Connection
    tables: Tables

    def run(self, text: str, **values: object) -> psycopg.Cursor[Any]:
        """Execute a statement with its values; see `Tables.statement`."""
        return self.connection.execute(self.tables.statement(text), values, binary=True)

    def run_many(self, text: str, rows: Iterable[Sequence[object]]) -> None:
        """Execute a statement for each row of values, `%s`."""
        with self.connection.cursor() as cursor:
            cursor.executemany(self.tables.statement(text), rows)


class Sessions:
    """Lends connections to one thread at a time; opens another where the server closed the last.

    A thread has at most one transaction, in which all users of this object take part.
    """

    def __init__(self, address: str, tables: Tables, *, gallery: str, lock_seconds: float) -> None:
        """Keep the address; nothing is opened yet.

        Args:
            address: Of the database, as libpq takes it.
            tables: Of the gallery.
            gallery: Which gallery it is about, for messages.
            lock_seconds: How long to wait for another writer.

        Raises:
            GalleryError: It is no address.
        """
        self.place = f"{gallery} in PostgreSQL {_server_of(address)}"
        """Gallery, server and database; without the password."""

        self.tables = tables
        self._address = address
        self._lock_seconds = lock_seconds
        self._idle: list[Connection] = []
        self._lock = Lock()
        self._is_closed = False
        self._own = local()

    @property
    def current(self) -> Session:
        """The session of this thread's transaction."""
        session: Session = self._own.session
        return session

    @contextmanager
    def connected(self) -> Iterator[Session]:
        """Lend a session, each statement a transaction of its own.

        Raises:
            GalleryError: The server cannot be reached or refuses, or another writer takes too long.
        """
        with self._explained():
            connection = self._take()
            try:
                yield Session(connection, self.tables)
            finally:
                self._give_back(connection)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Begin this thread's transaction."""
        with self.connected() as session, session.connection.transaction():
            self._own.session = session
            try:
                yield session
            finally:
                del self._own.session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Begin a transaction that sees one state."""
        with self.transaction() as session:
            session.run("set transaction isolation level repeatable read, read only")
            yield session

    def vacuum(self, names: str, *, is_thorough: bool) -> None:
        """Free the room of deleted rows; thoroughly: rewrite the tables, which locks them."""
        how = "full, analyze" if is_thorough else "index_cleanup on, truncate on"
        with self.connected() as session:
            session.run(f"vacuum ({how}) {names}")

    def forget_idle(self) -> None:
        """Close idle connections; later ones know extensions that were made since."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def close(self) -> None:
        """Close idle connections, and open no more."""
        self._is_closed = True
        self.forget_idle()

    def _take(self) -> Connection:
        while True:
            with self._lock:
                if self._is_closed:
                    raise GalleryError(f"{self.place} was closed: open it again")
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                return self._connect()
            if not _was_ended(connection):
                return connection

    def _give_back(self, connection: Connection) -> None:
        is_idle = connection.info.transaction_status is psycopg.pq.TransactionStatus.IDLE
        with self._lock:
            if is_idle and not self._is_closed:
                self._idle.append(connection)
                return
        connection.close()

    def _connect(self) -> Connection:
        given = conninfo_to_dict(self._address)
        rest = {name: value for name, value in _UNLESS_GIVEN.items() if name not in given}
        connection = psycopg.connect(make_conninfo(self._address, **rest), autocommit=True)
        settings = {"lock_timeout": round(1000 * self._lock_seconds), **_OF_SERVER}
        try:
            for name, value in settings.items():
                connection.execute("select set_config(%s, %s, false)", [name, str(value)])
            with suppress(psycopg.ProgrammingError):  # there is no pgvector, and perhaps no need
                register_vector(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except psycopg.errors.LockNotAvailable as error:
            raise GalleryError(
                f"{self.place} is being changed by somebody else for more than "
                f"{self._lock_seconds:g} s: try again later"
            ) from error
        except DamagedRecordError as error:
            raise damaged(self.place, error) from error
        except (psycopg.Error, UnicodeEncodeError) as error:
            raise GalleryError(f"{self.place}: {str(error).strip()}") from error


def _was_ended(connection: Connection) -> bool:
    """Whether the server has closed a connection since its last use, as after a restart."""
    try:
        # The first read can return the server's parting message, the second its absence.
        for _ in range(2):
            connection.pgconn.consume_input()
    except psycopg.OperationalError:
        connection.close()
    return connection.closed


def _server_of(address: str) -> str:
    try:
        parts = conninfo_to_dict(address)
    except psycopg.ProgrammingError as error:
        raise GalleryError(
            f"gallery.postgres.address is no address of a database ({str(error).strip()}): write "
            "postgresql://user@host/database"
        ) from error
    return f"{parts.get('host', 'localhost')}/{parts.get('dbname', '')}"
