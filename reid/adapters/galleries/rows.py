"""What engines of vectors share: rows with ascending keys, answers as tensors, no upkeep.

Letters: Q queries, R rows, K answers, D width.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from reid.domain.errors import GalleryError
from reid.domain.ranking.distances import find_nearest, rescore
from reid.domain.values.features import Neighbours
from reid.domain.values.galleries import GalleryFilter
from reid.ports.vector_index import VectorIndex

_ENTRIES_PER_BLOCK = 2**23  # numbers gathered at once (32 MiB)


class WithoutUpkeep:
    """The part of `GalleryVectors` that stores without upkeep share; an engine overrides it."""

    filters: bool = False
    rewrites: bool = False
    residual_traces: str | None = None

    def has_leftovers(self, state: str, *, last_key: int) -> bool:  # noqa: ARG002
        """Nothing is left over."""
        return False

    def tidy(self, state: str, *, last_key: int) -> None:
        """Do nothing."""

    def prepare(self, state: str) -> bool:  # noqa: ARG002
        """Do nothing: the vectors can be searched at any time."""
        return False

    def keep_prepared(self, state: str) -> None:
        """Do nothing."""

    def settle(self) -> None:
        """Do nothing."""

    def reclaim(self, state: str, *, is_thorough: bool) -> None:
        """Do nothing."""

    def faults(self, state: str) -> Iterator[str]:  # noqa: ARG002
        """Find nothing."""
        return iter(())

    def close(self) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True)
class RowsView:
    """Rows as of one state; behind the port of a view."""

    keys: np.ndarray  # (R,) int64, ascending
    rows: Tensor  # (R, D) float32, rows of unit L2 norm
    index: VectorIndex | None = None  # None where no index was built yet
    num_indexed: int = 0  # the index covers this many rows, from the first on

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
            return _nothing(len(queries))
        found = self.index.search(queries, min(k, self.num_indexed))
        num_rows = len(self.rows)
        if self.num_indexed != num_rows:
            # The index may be of a later state. Rows beside it are compared one by one, and all are
            # measured in one way, so that equal vectors tie whichever of the two found them.
            candidates = torch.where(found.indices < num_rows, found.indices, -1)
            if self.num_indexed < num_rows:
                beside = find_nearest(queries, self.rows[self.num_indexed :], k=k)
                candidates = torch.cat([candidates, beside.indices + self.num_indexed], dim=1)
            num_answers = min(k, candidates.shape[1])
            found = rescore(candidates, queries=queries, gallery=self.rows, k=num_answers)
        return self._as_keys(found)

    def among(self, queries: Tensor, k: int, *, keys: Sequence[int]) -> Neighbours:
        """Compare with some rows; see the port."""
        return self._as_keys(scan(queries, self.rows, self._rows_of(keys), k=k))

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

    def _as_keys(self, found: Neighbours) -> Neighbours:
        if not len(self.keys):
            return found
        keys = torch.from_numpy(self.keys[found.indices.clamp(min=0).numpy()])
        return Neighbours(
            indices=torch.where(found.indices >= 0, keys, -1), distances=found.distances
        )


def scan(queries: Tensor, vectors: Tensor, rows: Tensor, *, k: int) -> Neighbours:
    """Compare (Q, D) queries with some rows of vectors, block by block, exactly: (Q, K) rows."""
    best = _nothing(len(queries))
    for part in torch.split(rows, max(1, _ENTRIES_PER_BLOCK // max(1, vectors.shape[1]))):
        if not len(part):
            break
        found = find_nearest(queries, vectors[part], k=k)
        indices = torch.cat([best.indices, part[found.indices]], dim=1)
        distances = torch.cat([best.distances, found.distances], dim=1)
        order = torch.from_numpy(np.lexsort((indices.numpy(), distances.numpy()))[:, :k].copy())
        best = Neighbours(indices=indices.gather(1, order), distances=distances.gather(1, order))
    return best


def _nothing(num_queries: int) -> Neighbours:
    return Neighbours(
        indices=torch.empty((num_queries, 0), dtype=torch.int64),
        distances=torch.empty((num_queries, 0)),
    )


def vectors_by_key(found: Mapping[int, np.ndarray], keys: Sequence[int], *, place: str) -> Tensor:
    """Stack (D,) vectors in the order of N keys: (N, D).

    Raises:
        GalleryError: One is missing, or of another width than most.
    """
    missing = next((key for key in keys if key not in found), None)
    if missing is not None:
        raise GalleryError(f"{place} is damaged: image {missing} has no vector; remove it")
    if not keys:
        return torch.empty((0, 0))
    widths = [len(found[key]) for key in keys]
    usual = max(set(widths), key=widths.count)
    for key, width in zip(keys, widths, strict=True):
        if width != usual:
            raise GalleryError(
                f"{place} is damaged: the vector of image {key} has width {width}, others have "
                f"{usual}: remove the image"
            )
    return torch.from_numpy(np.stack([found[key] for key in keys]))


def neighbours_of(answers: Sequence[Sequence[tuple[int, float]]], *, k: int) -> Neighbours:
    """Convert keys and distances per query, at most `k` of them: (Q, K), padded with -1."""
    indices = torch.full((len(answers), k), -1)  # (Q, K)
    distances = torch.full((len(answers), k), torch.inf)  # (Q, K)
    for row, found in enumerate(answers):
        indices[row, : len(found)] = torch.tensor([key for key, _ in found], dtype=torch.int64)
        distances[row, : len(found)] = torch.tensor([away for _, away in found])
    return Neighbours(indices=indices, distances=distances)
