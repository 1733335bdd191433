"""A SQLite database in memory, and what it has in common with one in a file."""

import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from threading import RLock
from typing import Protocol

from reid.adapters.galleries.sqlite.failures import in_words
from reid.adapters.galleries.sqlite.schema import make_tables


class Connections(Protocol):
    """Lends connections to one database within transactions."""

    place: str
    """What to call the gallery in messages."""

    def reading(self) -> AbstractContextManager[sqlite3.Connection]:
        """Lend a connection that sees one state."""
        ...

    def writing(self, *, waits: bool = True) -> AbstractContextManager[sqlite3.Connection]:
        """Lend a connection as the one writer."""
        ...

    def require_in_place(self, connection: sqlite3.Connection) -> None:
        """Refuse to go on where the database was replaced."""
        ...

    def scrub(self) -> None:
        """Remove all traces of deleted records."""
        ...

    def close(self) -> None:
        """Close the connections that are not in use."""
        ...


class MemoryDatabase:
    """A database that lives as long as this object; one thread at a time uses it."""

    def __init__(self, *, place: str) -> None:
        """Make the tables."""
        self.place = place
        self._connection = sqlite3.connect(
            ":memory:", isolation_level=None, check_same_thread=False
        )
        self._lock = RLock()
        make_tables(self._connection)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Lend the connection."""
        with self._lock, in_words(self.place):
            yield self._connection

    @contextmanager
    def writing(self, *, waits: bool = True) -> Iterator[sqlite3.Connection]:  # noqa: ARG002
        """Lend the connection; changes are kept as a whole or not at all."""
        with self._lock, in_words(self.place):
            self._connection.execute("BEGIN")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def require_in_place(self, connection: sqlite3.Connection) -> None:
        """Do nothing: no other process can replace it."""

    def scrub(self) -> None:
        """Do nothing: nothing is on the disk."""

    def close(self) -> None:
        """Do nothing: the database ends with this object."""
