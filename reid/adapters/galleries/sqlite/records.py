"""Records of a gallery in a SQLite file, which is rewritten to leave no traces."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep
from typing import TypeAlias

from reid.adapters.atomic_files import new_file
from reid.adapters.galleries.sql_records import DamagedRecordError, damaged
from reid.adapters.galleries.sqlite.transaction import (
    APPLICATION_ID,
    SCHEMA_VERSION,
    SqliteTransaction,
    content_of_new,
    has_tables,
)
from reid.domain.errors import GalleryError

_PAUSE_SECONDS = 0.02

_Identity: TypeAlias = tuple[int, int] | None
"""Device and inode of a file; None where it is missing."""


class _Connection(sqlite3.Connection):
    """A connection that knows its file."""

    file: _Identity = None


class SqliteRecords:
    """Records in a file in write-ahead mode: readers keep their state while one writer goes on.

    Connections are lent to one thread at a time and kept for the next call. SQLite would go on with
    a file that was deleted or renamed, so a connection whose file was replaced is not lent again.
    """

    residual_traces = None

    def __init__(self, path: Path, *, place: str, wait_seconds: float) -> None:
        """Keep the names; nothing is opened yet. Messages call the gallery `place`."""
        self.place = place
        self._path = path.absolute()
        self._wait_seconds = wait_seconds
        self._idle: list[_Connection] = []

    @property
    def is_writable(self) -> bool:
        """Whether the file and its folder may be written by this user."""
        folder = self._path.parent
        return os.access(folder, os.W_OK) and (
            not self._path.exists() or os.access(self._path, os.W_OK)
        )

    def open(self, *, create: bool) -> None:
        """Make what is missing, if wanted; refuse other programs' files, and later formats.

        Raises:
            GalleryError: There is no gallery and `create` is False, the file is something else or
                damaged, or the folder cannot be written.
        """
        with explained(self.place):
            if create and not self._path.exists():
                self._require_writable()
                # Another process may make the same file at the same moment.
                with suppress(FileExistsError), new_file(self._path) as file:
                    file.write(content_of_new())
            with self._lent() as connection:
                if create and not has_tables(connection):
                    self._fill(connection)
                self._require_gallery(connection)

    @contextmanager
    def reading(self) -> Iterator[SqliteTransaction]:
        """Begin a transaction that sees one state, whatever is written meanwhile."""
        with explained(self.place), self._lent() as connection:
            connection.execute("BEGIN")
            yield self._transaction(connection)
            connection.execute("ROLLBACK")

    @contextmanager
    def writing(self, *, waits: bool = True) -> Iterator[SqliteTransaction]:
        """Begin a transaction as the one writer."""
        with explained(self.place), self._lent() as connection:
            self._require_writable()
            wait = self._wait_seconds if waits else 0
            connection.execute(f"PRAGMA busy_timeout = {round(1000 * wait)}")
            connection.execute("BEGIN IMMEDIATE")
            try:
                change = self._transaction(connection)
                change.require_in_place()
                yield change
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")
            connection.execute(f"PRAGMA busy_timeout = {round(1000 * self._wait_seconds)}")

    def reclaim(self, *, is_thorough: bool) -> None:  # noqa: ARG002  (it always is)
        """Rewrite the file and empty its log.

        `secure_delete` overwrites deleted records, but not the copies that SQLite made when it
        moved records from page to page.
        """
        with explained(self.place), self._lent() as connection:
            connection.execute("VACUUM")
            until = monotonic() + self._wait_seconds
            # SQLite itself waits for readers, but not for another process that does the same.
            while connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                if monotonic() > until:
                    raise GalleryError(
                        f"{self.place}: somebody still reads the state before: try again in a "
                        "moment"
                    )
                sleep(_PAUSE_SECONDS)

    def close(self) -> None:
        """Close the connections that are not in use."""
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _fill(self, connection: sqlite3.Connection) -> None:
        self._require_writable()
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("BEGIN IMMEDIATE")
        if not has_tables(connection):
            SqliteTransaction(connection).make_tables()
        connection.execute("COMMIT")

    def _require_gallery(self, connection: sqlite3.Connection) -> None:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (schema,) = connection.execute("PRAGMA user_version").fetchone()
        if application == 0 and not has_tables(connection):
            raise no_gallery(self.place)
        if application != APPLICATION_ID:
            raise GalleryError(
                f"{self._path} is no gallery, but another program's database: name another folder"
            )
        if schema != SCHEMA_VERSION:
            raise GalleryError(
                f"{self.place} was written in format {schema}, this program reads format "
                f"{SCHEMA_VERSION}: use a later program, or build the gallery again"
            )

    def _transaction(self, connection: _Connection) -> SqliteTransaction:
        def require_in_place() -> None:
            if connection.file != self._identity():
                raise GalleryError(
                    f"{self.place} was moved, deleted or replaced meanwhile, so nothing was done: "
                    "try again"
                )

        return SqliteTransaction(connection, require_in_place=require_in_place)

    @contextmanager
    def _lent(self) -> Iterator[_Connection]:
        connection, is_lasting = self._take(), True
        if connection is None:
            mode = self._mode()
            # A read-only connection may miss what a user with more rights writes later.
            connection, is_lasting = self._connect(mode), mode.startswith("rw")
        is_sound = False
        try:
            yield connection
            is_sound = not connection.in_transaction
        finally:
            if is_sound and is_lasting:
                self._idle.append(connection)
            else:
                connection.close()

    def _take(self) -> _Connection | None:
        with suppress(IndexError):  # other threads take, too
            while connection := self._idle.pop():
                if connection.file == self._identity():
                    return connection
                connection.close()
        return None

    def _identity(self) -> _Identity:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _mode(self) -> str:
        """Choose how to open the file.

        To read a database, SQLite writes a lock file beside it. In a read-only folder it can do
        without, provided that no log is waiting and no user with more rights has the file open.
        """
        if self.is_writable:
            return "rw"
        log, lock = (self._path.with_name(f"{self._path.name}-{end}") for end in ("wal", "shm"))
        is_quiet = not lock.exists() and not (log.exists() and log.stat().st_size)
        return "ro&immutable=1" if is_quiet else "ro"

    def _connect(self, mode: str) -> _Connection:
        file = self._identity()
        if file is None:
            raise no_gallery(self.place)
        connection = sqlite3.connect(
            f"{self._path.as_uri()}?mode={mode}",
            uri=True,
            timeout=self._wait_seconds,
            isolation_level=None,
            check_same_thread=False,
            factory=_Connection,
        )
        connection.file = file
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA secure_delete = ON")
        # The file may be hostile: its schema must not call functions with side effects.
        connection.execute("PRAGMA trusted_schema = OFF")
        return connection

    def _require_writable(self) -> None:
        if not self.is_writable:
            raise GalleryError(
                f"{self.place} cannot be written: it belongs to somebody else, or its disk is "
                "read-only; change its permissions, or copy the folder"
            )


def no_gallery(place: str) -> GalleryError:
    """Return the error about a folder without a gallery."""
    return GalleryError(f"{place} holds no gallery: build one first")


@contextmanager
def explained(place: str) -> Iterator[None]:
    """Turn errors of SQLite and of the file system into messages for users.

    Raises:
        GalleryError: In place of `sqlite3.Error` and `OSError`.
    """
    try:
        yield
    except (sqlite3.Error, DamagedRecordError) as error:
        raise _explanation(error, place) from error
    except UnicodeEncodeError as error:
        raise GalleryError(
            f"{place} cannot keep the name {error.object!a}: it is no text; rename the file"
        ) from error
    except OSError as error:
        raise GalleryError(
            f"{place} cannot be read or written: {error.strerror or error}"
            + (f" ({Path(error.filename).name})" if error.filename else "")
            + "; the state before is kept: make room or see its permissions"
        ) from error


def _explanation(error: Exception, place: str) -> GalleryError:
    text = "" if isinstance(error, DamagedRecordError) else str(error)
    if "locked" in text or "busy" in text:
        return GalleryError(
            f"{place} is being changed by another process: wait for it to end, then try again"
        )
    if "unable to open" in text:
        return GalleryError(f"{place} cannot be opened: {text}; see its permissions")
    if "full" in text or "I/O" in text or "readonly" in text:
        return GalleryError(f"{place} cannot be written: {text}; make room or see its permissions")
    return damaged(place, error)
