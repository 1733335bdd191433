"""Vectors in rows with ascending keys, of which the first ones are indexed.

Letters: Q queries, R rows, A rows asked for, K answers, D width, B queries or rows of a block.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from reid.domain.errors import GalleryError
from reid.domain.ranking.distances import distances, rank
from reid.domain.values.galleries import GalleryFilter
from reid.domain.values.ranking import Neighbours
from reid.ports.vector_index import VectorIndex

_ENTRIES_PER_BLOCK = 2**23
"""Numbers gathered or computed at once (32 MiB)."""

_QUERY_CHUNK = 256


@dataclass(frozen=True, slots=True)
class RowsView:
    """Rows as of one state; behind the port of a view."""

    keys: np.ndarray
    """(R,) int64, ascending."""

    rows: Tensor
    """(R, D) float32, rows of unit L2 norm."""

    index: VectorIndex | None
    """None where no index was built yet."""

    num_indexed: int
    """The index covers this many rows, from the first on."""

    @property
    def is_ready(self) -> bool:
        """Whether there is an index, or nothing to be indexed."""
        return self.index is not None or not len(self.rows)

    @property
    def recall(self) -> float:
        """Recall of the index; rows beside it are compared exactly."""
        return self.index.recall if self.index is not None else 1.0

    def of(self, keys: Sequence[int]) -> Tensor:
        """Look up vectors; see the port."""
        return self.rows[self._rows_of(keys)]

    def nearest(self, queries: Tensor, k: int, *, within: GalleryFilter) -> Neighbours:  # noqa: ARG002
        """Ask the index, and compare with the rows beside it; see the port."""
        if self.index is None:
            return Neighbours(
                indices=torch.empty((len(queries), 0), dtype=torch.int64),
                distances=torch.empty((len(queries), 0)),
            )
        found = self.index.search(queries, min(k, self.num_indexed))
        if self.num_indexed > len(self.rows):  # it was built for a later state
            rows = torch.where(found.indices < len(self.rows), found.indices, -1)
            found = _ordered(rows, found.distances.masked_fill(rows < 0, torch.inf))
        elif self.num_indexed < len(self.rows):
            beside = scan(queries, self.rows, k=k, first_row=self.num_indexed)
            rows = torch.cat([found.indices, beside.indices], dim=1)
            # Measured in one way, so that equal vectors tie whichever of the two found them.
            found = _ordered(rows, _distances_of(rows, queries, self.rows))
        return self._as_keys(found, k=k)

    def among(self, queries: Tensor, k: int, *, keys: Sequence[int]) -> Neighbours:
        """Compare with some rows; see the port."""
        rows = self._rows_of(keys)
        return self._as_keys(scan(queries, self.rows, k=k, rows=rows), k=k)

    def _rows_of(self, keys: Sequence[int]) -> Tensor:
        wanted = np.asarray(keys, dtype=np.int64)
        rows = np.searchsorted(self.keys, wanted)
        is_there = rows < len(self.keys)
        is_there[is_there] = self.keys[rows[is_there]] == wanted[is_there]
        if not is_there.all():
            raise GalleryError(
                f"the gallery is damaged: image {wanted[~is_there][0]} has no vector; remove it"
            )
        return torch.from_numpy(rows)

    def _as_keys(self, found: Neighbours, *, k: int) -> Neighbours:
        rows = found.indices[:, :k]
        if not len(self.keys):
            return Neighbours(indices=rows, distances=found.distances[:, :k])
        keys = torch.from_numpy(self.keys[rows.clamp(min=0).numpy()])
        return Neighbours(
            indices=torch.where(rows >= 0, keys, -1), distances=found.distances[:, :k]
        )


def scan(
    queries: Tensor,
    vectors: Tensor,
    *,
    k: int,
    rows: Tensor | None = None,
    first_row: int = 0,
) -> Neighbours:
    """Compare queries with rows, block by block, exactly.

    Args:
        queries: (Q, D).
        vectors: (R, D).
        k: Answers wanted.
        rows: Which to look at, ascending; None: all from `first_row` on.
        first_row: Ignored where `rows` are given.

    Returns:
        Rows as indices, at most k columns.
    """
    best = Neighbours(
        indices=torch.empty((len(queries), 0), dtype=torch.int64),
        distances=torch.empty((len(queries), 0)),
    )
    num_rows = len(vectors) - first_row if rows is None else len(rows)
    step = max(1, _ENTRIES_PER_BLOCK // max(vectors.shape[1], min(_QUERY_CHUNK, len(queries)), 1))
    for start in range(0, num_rows, step):
        stop = min(start + step, num_rows)
        if rows is None:
            part, numbers = vectors[first_row + start : first_row + stop], None
        else:
            numbers = rows[start:stop]
            part = vectors[numbers]
        found = _ranked(queries, part, k=k)
        own = found.indices + first_row + start if numbers is None else numbers[found.indices]
        merged = _ordered(
            torch.cat([best.indices, own], dim=1),
            torch.cat([best.distances, found.distances], dim=1),
        )
        best = Neighbours(indices=merged.indices[:, :k], distances=merged.distances[:, :k])
    return best


def _ranked(queries: Tensor, part: Tensor, *, k: int) -> Neighbours:
    """Rank one block of (B, D) rows."""
    num_answers = min(k, len(part))
    indices = torch.empty((len(queries), num_answers), dtype=torch.int64)
    found = torch.empty((len(queries), num_answers))
    for start in range(0, len(queries), _QUERY_CHUNK):
        chunk = slice(start, start + _QUERY_CHUNK)
        block = distances(queries[chunk], part)  # (B, R)
        indices[chunk] = rank(block, k=num_answers)
        found[chunk] = block.gather(1, indices[chunk])
    return Neighbours(indices=indices, distances=found)


def _distances_of(rows: Tensor, queries: Tensor, vectors: Tensor) -> Tensor:
    """Measure (Q, A) rows each on its own; infinity where the row is -1."""
    found = torch.empty(rows.shape)
    step = max(1, _ENTRIES_PER_BLOCK // max(1, rows.shape[1] * vectors.shape[1]))
    for start in range(0, len(queries), step):
        chunk = slice(start, start + step)
        near = vectors[rows[chunk].clamp(min=0)]  # (B, A, D)
        cosines = (near * queries[chunk, None]).sum(dim=2)  # (B, A)
        found[chunk] = (1 - cosines).clamp_(min=0, max=2)
    return found.masked_fill(rows < 0, torch.inf)


def _ordered(rows: Tensor, found: Tensor) -> Neighbours:
    """Sort answers by distance, then by row."""
    order = torch.from_numpy(np.lexsort((rows.numpy(), found.numpy())))
    return Neighbours(indices=rows.gather(1, order), distances=found.gather(1, order))
