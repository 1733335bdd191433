"""A gallery that lives as long as the process."""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import RLock

import numpy as np
import torch
from torch import Tensor

from reid.adapters.galleries.rows import RowsView, WithoutUpkeep
from reid.adapters.galleries.sqlite.records import explained
from reid.adapters.galleries.sqlite.transaction import SqliteTransaction
from reid.domain.services.gallery import Gallery
from reid.domain.values.galleries import KeptImage
from reid.ports.vector_index import VectorIndex


def open_memory_gallery(
    *, create_index: Callable[[], VectorIndex], place: str = "memory"
) -> Gallery:
    """Make an empty gallery, which messages call `place`."""
    return Gallery(MemoryRecords(place=place), MemoryVectors(create_index))


class MemoryRecords:
    """Records in a SQLite database in memory, used by one thread at a time."""

    residual_traces = None

    def __init__(self, *, place: str) -> None:
        """Make the tables; messages call the gallery `place`."""
        self.place = place
        self._connection = sqlite3.connect(
            ":memory:", isolation_level=None, check_same_thread=False
        )
        self._lock = RLock()
        SqliteTransaction(self._connection).make_tables()

    @contextmanager
    def reading(self) -> Iterator[SqliteTransaction]:
        """Keep other threads waiting."""
        with self._lock, explained(self.place):
            yield SqliteTransaction(self._connection)

    @contextmanager
    def writing(self, *, waits: bool = True) -> Iterator[SqliteTransaction]:  # noqa: ARG002
        """Keep other threads waiting; changes are kept as a whole or not at all."""
        with self._lock, explained(self.place):
            self._connection.execute("BEGIN")
            try:
                yield SqliteTransaction(self._connection)
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def reclaim(self, *, is_thorough: bool) -> None:
        """Do nothing: nothing is on the disk."""

    def close(self) -> None:
        """Do nothing: the database ends with this object."""


class MemoryVectors(WithoutUpkeep):
    """Vectors in memory, behind their port; there is one state."""

    def __init__(self, create_index: Callable[[], VectorIndex]) -> None:
        """Start empty; `create_index` makes the index that searches."""
        self._create_index = create_index
        self._view = RowsView(np.empty(0, np.int64), torch.empty((0, 0)))

    @property
    def is_exact(self) -> bool:
        """As the index."""
        return self._create_index().is_exact

    def view(self, state: str) -> RowsView:  # noqa: ARG002
        """See what there is."""
        return self._view

    def add(self, state: str, images: Sequence[KeptImage], vectors: Tensor) -> str:
        """Append rows."""
        keys = np.array([image.key for image in images], dtype=np.int64)
        own = self._view.keys < keys.min(initial=np.iinfo(np.int64).max)
        rows = self._view.rows[torch.from_numpy(own)]
        added = vectors.detach().cpu().float()
        self._view = RowsView(
            np.concatenate([self._view.keys[own], keys]),
            torch.cat([rows, added]) if len(rows) else added.clone(),
        )
        return state

    def drop(self, state: str, keys: Sequence[int]) -> str:
        """Leave out rows."""
        is_kept = ~np.isin(self._view.keys, np.array(keys, dtype=np.int64))
        rows = self._view.rows[torch.from_numpy(is_kept)]
        self._view = RowsView(self._view.keys[is_kept], rows)
        return state

    def prepare(self, state: str) -> bool:  # noqa: ARG002
        """Build the index."""
        keys, rows = self._view.keys, self._view.rows
        if len(rows):
            index = self._create_index()
            index.build(rows)
            self._view = RowsView(keys, rows, index, len(rows))
        return False
