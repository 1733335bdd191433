"""A gallery that lives as long as the process."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from reid.adapters.galleries.rows import RowsView
from reid.adapters.galleries.sqlite.memory_database import MemoryDatabase
from reid.adapters.galleries.sqlite.records import SqliteRecords
from reid.domain.services.gallery import Gallery
from reid.domain.values.galleries import KeptImage
from reid.ports.vector_index import VectorIndex


def open_memory_gallery(
    *, create_index: Callable[[], VectorIndex], place: str = "memory"
) -> Gallery:
    """Make an empty gallery.

    Args:
        create_index: Makes the index that searches without a filter.
        place: What to call it in messages.
    """
    return Gallery(SqliteRecords(MemoryDatabase(place=place)), MemoryVectors(create_index))


class MemoryVectors:
    """Vectors in memory, behind their port; states are not told apart."""

    def __init__(self, create_index: Callable[[], VectorIndex]) -> None:
        """Start empty; `create_index` makes the index that searches."""
        self._create_index = create_index
        self._view = RowsView(np.empty(0, np.int64), torch.empty((0, 0)), None, 0)

    @property
    def is_exact(self) -> bool:
        """As the index."""
        return self._create_index().is_exact

    @property
    def filters(self) -> bool:
        """Only keys are known."""
        return False

    @property
    def rewrites(self) -> bool:
        """What is dropped goes at once."""
        return False

    @property
    def residual_traces(self) -> None:
        """Nothing is kept beside the vectors."""
        return None

    def view(self, state: str) -> RowsView:  # noqa: ARG002  (there is one)
        """See what there is."""
        return self._view

    def add(self, state: str, images: Sequence[KeptImage], vectors: Tensor) -> str:
        """Append rows."""
        keys = np.array([image.key for image in images], dtype=np.int64)
        own = self._view.keys < keys.min(initial=np.iinfo(np.int64).max)
        rows = self._view.rows[torch.from_numpy(own)]
        added = vectors.detach().cpu().float()
        self._replace(
            np.concatenate([self._view.keys[own], keys]),
            torch.cat([rows, added]) if len(rows) else added.clone(),
        )
        return state

    def drop(self, state: str, keys: Sequence[int]) -> str:
        """Leave out rows."""
        is_kept = ~np.isin(self._view.keys, np.array(keys, dtype=np.int64))
        self._replace(self._view.keys[is_kept], self._view.rows[torch.from_numpy(is_kept)])
        return state

    def has_leftovers(self, state: str, *, last_key: int) -> bool:  # noqa: ARG002
        """Nothing is left over: no other process writes."""
        return False

    def tidy(self, state: str, *, last_key: int) -> None:
        """Do nothing."""

    def prepare(self, state: str) -> bool:  # noqa: ARG002  (there is one)
        """Build the index."""
        keys, rows = self._view.keys, self._view.rows
        if len(rows):
            index = self._create_index()
            index.build(rows)
            self._view = RowsView(keys, rows, index, len(rows))
        return False

    def keep_prepared(self, state: str) -> None:
        """Do nothing."""

    def settle(self) -> None:
        """Do nothing."""

    def reclaim(self, *, is_thorough: bool) -> None:
        """Do nothing."""

    def faults(self, state: str) -> Iterator[str]:  # noqa: ARG002  (there is one)
        """Find nothing."""
        return iter(())

    def close(self) -> None:
        """Do nothing."""

    def _replace(self, keys: np.ndarray, rows: Tensor) -> None:
        self._view = RowsView(keys, rows, None, 0)
