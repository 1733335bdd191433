"""Records of a gallery in PostgreSQL: one server, many clients.

Every change, with its line of the audit log, is a transaction that locks the tenant's row of state.

Erasure deletes rows in a transaction, and VACUUM then removes them from tables and indexes, unless
another connection still reads an earlier state. Their bytes can stay in the free room of pages
until it is used again or a thorough `reclaim` rewrites the tables, in the server's write-ahead log
until it is recycled, and in backups. Logs and backups are the server's.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from threading import Lock, local

import psycopg
from pgvector.psycopg import register_vector
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from reid.adapters.galleries.postgres.transaction import Connection, PostgresTransaction, Tables
from reid.adapters.galleries.sql_records import DamagedRecordError, damaged
from reid.domain.errors import GalleryError

_UNLESS_GIVEN: Mapping[str, str | int] = {
    "application_name": "reid",
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
"""Seconds, and milliseconds. By default a system waits for hours for a machine that was switched
off or cut off from the network."""

_OF_SERVER = {"tcp_keepalives_idle": 30, "tcp_keepalives_interval": 10, "tcp_keepalives_count": 3}
"""The same at the other end: a client that was cut off holds its lock for a minute only."""


class PostgresRecords:
    """Keeps the records of one tenant in the tables of one gallery.

    Connections are lent to one thread at a time; another is opened where the server closed the
    last. A thread has at most one transaction, in which its vectors take part.
    """

    residual_traces = (
        "in free room of the tables' pages until the gallery is compacted, and in the server's "
        "write-ahead log, its archive and replicas until it is recycled there, which is up to the "
        "server's operator"
    )

    def __init__(self, address: str, tables: Tables, *, gallery: str, lock_seconds: float) -> None:
        """Keep the address, as libpq takes it; nothing is opened yet.

        Raises:
            GalleryError: It is no address.
        """
        self.place = f"{gallery} in PostgreSQL {_server_of(address)}"  # without the password
        self.tables = tables
        self._address = address
        self._lock_seconds = lock_seconds
        self._idle: list[Connection] = []
        self._lock = Lock()
        self._is_closed = False
        self._own = local()

    @property
    def current(self) -> PostgresTransaction:
        """This thread's transaction."""
        transaction: PostgresTransaction = self._own.transaction
        return transaction

    def open(self, *, create: bool) -> None:
        """Make the tables and the tenant's row where they are missing and wanted.

        Raises:
            GalleryError: They are missing and `create` is False, or the server refuses.
        """
        # Looked for first, since a user who may change rows may lack the right to make tables.
        with self.reading() as now:
            name = self.tables.named("state").as_string(now.connection)
            are_made = now.run("select to_regclass(:name)", name=name).fetchone() != (None,)
            own = "select from {state} where {own}"
            if are_made and now.run(own).fetchone() is not None:
                return
        if not create:
            raise GalleryError(
                f"{self.place} does not exist: build it first, or correct its name, "
                "gallery.tenant or the address"
            )
        with self.transaction() as change:
            # Without a lock, two processes could both find no tables and make them.
            change.run("select pg_advisory_xact_lock(hashtext('reid'))")
            for statement in () if are_made else self.tables.creation:
                change.run(statement)
            change.run("insert into {state} (tenant) values ({tenant}) on conflict do nothing")
        self._close_idle()  # later connections know the extension

    @contextmanager
    def transaction(self) -> Iterator[PostgresTransaction]:
        """Begin this thread's transaction.

        Raises:
            GalleryError: The server cannot be reached or refuses, or another writer takes too long.
        """
        with self._lent() as connection, connection.transaction():
            self._own.transaction = PostgresTransaction(connection, self.tables)
            try:
                yield self._own.transaction
            finally:
                del self._own.transaction

    @contextmanager
    def reading(self) -> Iterator[PostgresTransaction]:
        """Begin a transaction that sees one state."""
        with self.transaction() as now:
            now.run("set transaction isolation level repeatable read, read only")
            yield now

    @contextmanager
    def writing(self, *, waits: bool = True) -> Iterator[PostgresTransaction]:
        """Begin a transaction as the tenant's one writer."""
        with self.transaction() as change:
            change.run("select from {state} where {own} for update" + " nowait" * (not waits))
            yield change

    def reclaim(self, *, is_thorough: bool) -> None:
        """Vacuum the tables; see `vacuum`."""
        self.vacuum("{images}, {removed}", is_thorough=is_thorough)

    def vacuum(self, names: str, *, is_thorough: bool) -> None:
        """Free the room of deleted rows; thoroughly: rewrite the tables, which locks them."""
        how = "full, analyze" if is_thorough else "index_cleanup on, truncate on"
        with self._lent() as connection:
            connection.execute(self.tables.statement(f"vacuum ({how}) {names}"))

    def close(self) -> None:
        """Close idle connections, and open no more."""
        self._is_closed = True
        self._close_idle()

    def _close_idle(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    @contextmanager
    def _lent(self) -> Iterator[Connection]:
        with self._explained():
            connection = self._take()
            try:
                yield connection
            finally:
                self._give_back(connection)

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
