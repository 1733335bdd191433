"""Approximate nearest-neighbour search by a forest of random projection trees (Annoy).

Annoy ranks its candidates by their exact distance, so it errs only by looking at too few of them.
`build` finds the number of candidates that reaches the wanted recall. Annoy's "angular" distance is
sqrt(2 (1 - cos)) and is converted to 1 - cos.

Letters: G gallery, Q queries, D width, K answers.
"""

import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import annoy
import numpy as np
import torch
from torch import Tensor

from reid.adapters.indexes.annoy_files import add_facts, read_facts
from reid.adapters.indexes.approximate import ApproximateIndex, Built
from reid.adapters.indexes.index_files import LARGEST_EFFORT, IndexFacts, damaged
from reid.domain.errors import VectorIndexError
from reid.domain.values.ranking import Neighbours

_TREES = (50, 100)
"""Forest sizes tried, in order. Of 10, 25, 50, 100 and 200 trees, each with the candidates that a
recall of .95 takes, 50 answered the most queries per second, or within a sixth of the most: on
15,913 real vectors of width 256, where a leaf of one tree suffices, and on generated ones of width
1280 (both by `python -m benchmarks search`). Fewer trees need more candidates for the same recall;
more trees have more roots to look at and take longer to grow."""

_CANDIDATES_PER_TREE = 10_000
"""Most candidates tried; galleries up to this size are then searched in full."""


@dataclass(frozen=True, slots=True)
class _Forest:
    """A forest and its number of trees, which Annoy miscounts in small files."""

    forest: annoy.AnnoyIndex
    trees: int


class AnnoyIndex(ApproximateIndex[_Forest]):
    """Search a memory-mapped forest; approximate.

    Each core grows trees from its own seed, so answers repeat on machines with as many cores; the
    bytes of the file differ from build to build.
    """

    kind = "annoy"
    name = "Annoy"
    effort_name = "search_k"

    def __init__(
        self,
        *,
        recall: float = 0.95,
        trees: int | None = None,
        search_k: int | None = None,
        directory: Path | None = None,
        seed: int = 0,
    ) -> None:
        """Start empty.

        Args:
            recall: Wanted share of gallery rows whose nearest other row is found.
            trees: Size of the forest; None: chosen for the recall.
            search_k: Candidates looked at per query; None: chosen for the recall. Where both are
                given, they are used whatever the recall is.
            directory: Where the file `gallery.annoy` is kept; None: in a temporary folder, deleted
                once it is mapped, or with the index where the system cannot do that.
            seed: Of the random projections and of the rows by which recall is measured.

        Raises:
            VectorIndexError: A value is out of range.
        """
        super().__init__(recall=recall, effort=search_k, seed=seed)
        self._trees = self._in_range("trees", trees)
        self._directory = directory

    @property
    def trees(self) -> int:
        """Size of the forest that was built.

        Raises:
            VectorIndexError: Nothing was built yet.
        """
        return self._require_built().structure.trees

    @property
    def search_k(self) -> int:
        """Candidates looked at per query; more if many answers are asked for.

        Raises:
            VectorIndexError: Nothing was built yet.
        """
        return self._effort or self._require_built().facts.effort

    def _structures(self, vectors: Tensor) -> Iterator[_Forest]:
        """Build forests and let Annoy map their file into memory."""
        for trees in _TREES if self._trees is None else (self._trees,):
            forest = annoy.AnnoyIndex(vectors.shape[1], "angular")
            forest.set_seed(self._seed)
            for row, vector in enumerate(vectors.numpy()):
                forest.add_item(row, vector.tolist())
            forest.build(trees, n_jobs=-1)
            try:
                folder = self._require_folder()
                forest.save(str(folder / "gallery.annoy"))  # saves, then maps
            except OSError as error:
                raise VectorIndexError(
                    f"the file gallery.annoy of the Annoy index cannot be written: {error}; choose "
                    "another folder or make room"
                ) from error
            if self._directory is None:
                # It holds every vector, including those that are erased later: a killed process
                # must not leave it behind.
                shutil.rmtree(folder, ignore_errors=True)
            yield _Forest(forest, trees)

    def _require_folder(self) -> Path:
        if self._directory is None:
            folder = Path(tempfile.mkdtemp(prefix="reid-annoy-"))
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
            return folder
        self._directory.mkdir(parents=True, exist_ok=True)
        return self._directory

    def _ask(self, structure: _Forest, queries: Tensor, *, k: int, effort: int) -> Neighbours:
        """Find each vector's neighbours, on all cores: Annoy releases Python's lock.

        Each core takes a share of the queries, because a task takes longer to start than to answer.
        """
        indices = np.full((len(queries), k), -1, dtype=np.int64)
        found = np.full((len(queries), k), np.inf, dtype=np.float32)
        asked = queries.numpy()
        num_workers = os.cpu_count() or 1

        def ask(worker: int) -> None:
            for query in range(worker, len(asked), num_workers):
                rows, angular = structure.forest.get_nns_by_vector(
                    asked[query].tolist(), k, effort, include_distances=True
                )
                indices[query, : len(rows)] = rows
                found[query, : len(rows)] = np.square(np.asarray(angular, dtype=np.float32)) / 2

        with ThreadPoolExecutor(num_workers) as pool:
            list(pool.map(ask, range(num_workers)))
        order = np.lexsort((indices, found))  # squares may tie where roots did not
        return Neighbours(
            indices=torch.from_numpy(np.take_along_axis(indices, order, axis=1)),
            distances=torch.from_numpy(np.take_along_axis(found, order, axis=1)),
        )

    def _efforts(self, structure: _Forest, num_rows: int) -> tuple[int, int]:
        trees = structure.trees
        # At least two per tree, as `_enough` would raise it: a probe has two answers.
        return 2 * trees, trees * min(num_rows, _CANDIDATES_PER_TREE)

    def _enough(self, structure: _Forest, effort: int, *, k: int) -> int:
        return min(LARGEST_EFFORT, max(effort, k * structure.trees))

    def _is_given(self) -> bool:
        return self._trees is not None and self._effort is not None

    def _told(self, structure: _Forest, effort: int) -> str:
        return f"{structure.trees} trees and search_k {effort}"

    def _facts_in(self, path: str, gallery: Tensor) -> IndexFacts:
        return read_facts(path, width=gallery.shape[1])

    def _write(self, built: Built[_Forest], part: Path) -> IndexFacts:
        plain = part.with_name(f"{part.name}.forest")
        try:
            built.structure.forest.save(str(plain))
            facts = replace(built.facts, trees=built.structure.trees)
            return add_facts(plain, part, facts=facts)
        finally:
            plain.unlink(missing_ok=True)

    def _kept(self, built: Built[_Forest], path: str) -> Built[_Forest]:
        """Map the saved file and release the one that was mapped before."""
        return Built(_mapped(path, built.facts), built.facts)

    def _read(self, path: str, facts: IndexFacts, gallery: Tensor) -> _Forest:  # noqa: ARG002
        return _mapped(path, facts)


def _mapped(path: str, facts: IndexFacts) -> _Forest:
    forest = annoy.AnnoyIndex(facts.width, "angular")
    try:
        forest.load(path)
    except OSError as error:
        raise damaged(path, error) from error
    if forest.get_n_items() != facts.num_rows:
        raise damaged(path, "its parts disagree")
    return _Forest(forest, facts.trees)
