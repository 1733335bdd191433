"""Search over rows of which some are indexed, some were added since, and some do not count.

Letters: Q queries, R rows, A rows asked for, K answers, D width, B queries or rows of a block.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from reid.domain.ordering import distances, rank
from reid.domain.values.ranking import Neighbours
from reid.ports.vector_index import VectorIndex

_ENTRIES_PER_BLOCK = 2**23
"""Numbers gathered or computed at once (32 MiB)."""

_QUERY_CHUNK = 256

_INDEXED_SHARE = 16
"""One answer in so many rows at most: beyond, comparing with all rows is as fast as an index whose
answers must be sifted."""

_SPARE_ANSWERS = 8
_SPARE_SHARE = 1.5
"""So many more are asked for than wanted where rows may not count."""

_SECOND_TRY = 8
"""Factor of the rows asked for where the first answers did not suffice."""


@dataclass(frozen=True, slots=True)
class SearchedRows:
    """What is searched, as of one state of the gallery."""

    vectors: Tensor
    """(R, D) float32, rows of unit L2 norm."""

    num_pictures: int
    """Rows that count."""

    index: VectorIndex
    num_indexed: int
    """Rows that the index covers, from the first on."""

    is_filtered: bool
    keys_of: Callable[[Iterable[int]], dict[int, int]]
    """Keys of rows that count and are admitted; others are left out."""

    admitted: Callable[[], list[int]]
    """All such rows, ascending."""

    def search(self, queries: Tensor, k: int) -> Neighbours:
        """Rank the rows that count and are admitted.

        Returns:
            Indices are keys: (Q, min(k, pictures)).
        """
        num_answers = min(k, self.num_pictures)
        if self._is_answered_by_index:
            found = self.index.search(queries, num_answers)
            return Neighbours(indices=self._keys(found.indices), distances=found.distances)
        indices = torch.full((len(queries), num_answers), -1)  # (Q, K)
        found_at = torch.full((len(queries), num_answers), torch.inf)  # (Q, K)
        left = torch.arange(len(queries))
        for asked in self._tries(num_answers):
            found = self._sifted(self._nearest(queries[left], asked), k=num_answers)
            indices[left], found_at[left] = found.indices, found.distances
            left = left[found.indices[:, -1] < 0]
            if not len(left):
                return Neighbours(indices=indices, distances=found_at)
        found = scan(queries[left], self.vectors, k=num_answers, rows=self.admitted())
        indices[left, : found.indices.shape[1]] = self._keys(found.indices)
        found_at[left, : found.indices.shape[1]] = found.distances
        return Neighbours(indices=indices, distances=found_at)

    @property
    def _is_answered_by_index(self) -> bool:
        """Whether the index covers all that counts, and nothing else."""
        return self.num_indexed == len(self.vectors) == self.num_pictures and not self.is_filtered

    def _tries(self, num_answers: int) -> list[int]:
        """Choose how many rows to ask for, first and then."""
        spare = int(num_answers * _SPARE_SHARE * len(self.vectors) / self.num_pictures)
        first = spare + _SPARE_ANSWERS
        if self.num_pictures == len(self.vectors) and not self.is_filtered:
            first = num_answers
        largest = len(self.vectors) // _INDEXED_SHARE
        return [asked for asked in (first, first * _SECOND_TRY) if asked <= largest]

    def _nearest(self, queries: Tensor, asked: int) -> Neighbours:
        """Ask the index and compare with the rows beside it: (Q, A) rows."""
        found = self.index.search(queries, min(asked, self.num_indexed))
        rows = torch.where(found.indices < len(self.vectors), found.indices, -1)
        if self.num_indexed >= len(self.vectors):
            return _ordered(rows, torch.where(rows >= 0, found.distances, torch.inf))
        tail = scan(queries, self.vectors, k=asked, first_row=self.num_indexed)
        rows = torch.cat([rows, tail.indices], dim=1)
        # Measured in one way, so that equal vectors tie whichever of the two found them.
        found = _ordered(rows, _distances_of(rows, queries, self.vectors))
        return Neighbours(indices=found.indices[:, :asked], distances=found.distances[:, :asked])

    def _sifted(self, found: Neighbours, *, k: int) -> Neighbours:
        """Turn rows into keys, and leave out those that do not count."""
        keys = self._keys(found.indices)  # (Q, A)
        places = (keys < 0).to(torch.int8).argsort(dim=1, stable=True)[:, :k]  # (Q, K)
        keys = keys.gather(1, places)
        nearest = found.distances.gather(1, places).masked_fill(keys < 0, torch.inf)
        missing = k - keys.shape[1]
        return Neighbours(
            indices=torch.nn.functional.pad(keys, (0, missing), value=-1),
            distances=torch.nn.functional.pad(nearest, (0, missing), value=torch.inf),
        )

    def _keys(self, rows: Tensor) -> Tensor:
        """Look up the keys of rows; -1 where there is none."""
        distinct, places = np.unique(rows.numpy(), return_inverse=True)
        known = self.keys_of(row for row in distinct.tolist() if row >= 0)
        keys = np.array([known.get(row, -1) for row in distinct.tolist()], dtype=np.int64)
        return torch.from_numpy(keys[places].reshape(rows.shape))


def scan(
    queries: Tensor,
    vectors: Tensor,
    *,
    k: int,
    rows: list[int] | None = None,
    first_row: int = 0,
) -> Neighbours:
    """Compare queries with rows, block by block, exactly.

    Args:
        queries: (Q, D).
        vectors: (R, D).
        k: Answers wanted.
        rows: Which to look at, ascending; all of them from `first_row` on if None.
        first_row: See there.

    Returns:
        Indices are rows: at most k columns, and as many as there are rows.
    """
    best = Neighbours(
        indices=torch.empty((len(queries), 0), dtype=torch.int64),
        distances=torch.empty((len(queries), 0)),
    )
    num_rows = len(vectors) - first_row if rows is None else len(rows)
    step = max(1, _ENTRIES_PER_BLOCK // max(vectors.shape[1], min(_QUERY_CHUNK, len(queries)), 1))
    looked_at = None if rows is None else torch.tensor(rows, dtype=torch.int64)
    for start in range(0, num_rows, step):
        stop = min(start + step, num_rows)
        if looked_at is None:
            part, numbers = vectors[first_row + start : first_row + stop], None
        else:
            numbers = looked_at[start:stop]
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
