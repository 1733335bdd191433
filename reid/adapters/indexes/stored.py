"""What all indexes have in common: checks of vectors, and a file of structure and facts.

Letters: G gallery, Q queries, D width, K answers.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

import torch
from torch import Tensor

from reid.adapters.indexes.index_files import IndexFacts, reading, replacing
from reid.domain.errors import VectorIndexError
from reid.domain.values.features import Neighbours

NORM_TOLERANCE = 1e-3  # largest deviation of a norm from 1; rounding to float16 stays within
S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Built(Generic[S]):
    """A structure to search, and its facts."""

    structure: S
    facts: IndexFacts


class StoredIndex(ABC, Generic[S]):
    """Searches a structure that can be kept in a file; see `PersistentIndex` for the contract."""

    kind: ClassVar[str]

    def __init__(self) -> None:
        """Start empty."""
        self._built: Built[S] | None = None

    @property
    def recall(self) -> float:
        """Recall that the last `build` measured; 1 for a gallery of a single row."""
        return self._require_built().facts.recall

    def build(self, gallery: Tensor) -> None:
        """Check the gallery and replace the content."""
        if gallery.ndim != 2:
            raise VectorIndexError(f"a gallery must be (G, D), got {tuple(gallery.shape)}")
        if len(gallery) == 0:
            raise VectorIndexError("the gallery is empty: give it at least one image")
        _check_unit_norm(gallery, name="gallery")
        self._built = self._build(gallery.detach())

    def search(self, queries: Tensor, k: int) -> Neighbours:
        """Check the queries and rank gallery rows."""
        built = self._require_built()
        if k < 1:
            raise VectorIndexError(f"k must be at least 1, got {k}")
        if queries.ndim != 2 or queries.shape[1] != built.facts.width:
            raise VectorIndexError(
                f"queries {tuple(queries.shape)} do not fit the indexed gallery of width "
                f"{built.facts.width}: embed both by the same encoder"
            )
        _check_unit_norm(queries, name="query")
        return self._search(built, queries.detach(), k=min(k, built.facts.num_rows))

    def save(self, path: str) -> None:
        """Write the structure, then its facts."""
        built = self._require_built()
        with replacing(path) as part:
            facts = self._write(built, part)
        self._built = Built(built.structure, facts)

    def load(self, path: str, *, gallery: Tensor) -> None:
        """Map a structure from its file."""
        with reading(path):
            self._built = self._read(Path(path), gallery.detach())

    @abstractmethod
    def _build(self, gallery: Tensor) -> Built[S]: ...

    @abstractmethod
    def _search(self, built: Built[S], queries: Tensor, *, k: int) -> Neighbours:
        """Answer (Q, D) queries; k at most G."""

    @abstractmethod
    def _write(self, built: Built[S], part: Path) -> IndexFacts:
        """Write a structure and its facts to a file; return the facts, completed by the file's."""

    @abstractmethod
    def _read(self, path: Path, gallery: Tensor) -> Built[S]:
        """Read what `_write` wrote of a gallery; ValueError where it is something else."""

    def _require_built(self) -> Built[S]:
        if self._built is None:
            raise VectorIndexError("nothing was indexed yet: build the index before using it")
        return self._built


def _check_unit_norm(vectors: Tensor, *, name: str) -> None:
    norms = torch.linalg.vector_norm(vectors, dim=1)  # (N,)
    is_wrong = ~((norms - 1).abs() <= NORM_TOLERANCE)  # true for NaN, too
    if is_wrong.any():
        row = int(is_wrong.nonzero()[0, 0])
        raise VectorIndexError(
            f"{name} row {row} has L2 norm {float(norms[row]):.4g} instead of 1 "
            f"({int(is_wrong.sum())} such rows of {len(norms)}): normalise embeddings first"
        )
