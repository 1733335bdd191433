"""Approximate nearest-neighbour search by a forest of random projection trees (Annoy).

Annoy ranks its candidates by their exact distance, so it errs only by not looking at enough of
them: `build` looks for the number of candidates that reaches the wanted recall, and says what it
measured. Its "angular" distance is sqrt(2 (1 - cos)) and is converted to 1 - cos.

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
from reid.adapters.indexes.recall_probes import RecallProbes, draw_probes
from reid.adapters.indexes.vector_checks import check_gallery, check_search, not_built
from reid.adapters.indexes.written import (
    IndexFacts,
    damaged,
    fingerprint_of,
    replacing,
    require_fit,
)
from reid.domain.errors import VectorIndexError
from reid.domain.values.ranking import Neighbours

_KIND = "annoy"
_TREES = (50, 100)
"""Forest sizes tried, in order. Of 10, 25, 50, 100 and 200 trees, each given the candidates that a
recall of .95 takes, 50 answered the most queries a second or within a sixth of the most: on 15,913
real vectors of width 256, where a leaf of one tree suffices, and on generated ones of width 1280
(both by `python -m benchmarks search`). Fewer trees look at more candidates to find as much, more
trees at more roots, and they take longer to grow."""

_STEP = 1.5
"""Factor to the next count of candidates tried, which bounds how many too many are looked at."""

_CANDIDATES_PER_TREE = 10_000
"""Upper end of the candidates tried; galleries up to this size are then searched in full."""

_LARGEST_COUNT = 2**31 - 1
"""Annoy counts in C integers."""


@dataclass(frozen=True, slots=True)
class _Built:
    """A searchable forest and what is known of it."""

    forest: annoy.AnnoyIndex
    width: int
    num_rows: int
    trees: int
    search_k: int
    recall: float
    fingerprint: str = ""
    """Of the rows, see `fingerprint_of`; not needed to search."""


class AnnoyIndex:
    """Search a memory-mapped forest; approximate.

    Trees are grown by all cores, each core from its own seed: answers repeat on a machine with as
    many cores, whereas the bytes of the file differ from build to build.
    """

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
            trees: Size of the forest; chosen for the recall if None.
            search_k: Candidates looked at per query; chosen for the recall if None. Where both
                are given they are used whatever the recall is.
            directory: Where the file `gallery.annoy` is left; if None, it is in a temporary folder
                and deleted once it is mapped, or with the index where the system cannot do that.
            seed: Of the random projections and of the rows by which recall is measured.

        Raises:
            VectorIndexError: A value is out of range.
        """
        if not 0 < recall <= 1:
            raise VectorIndexError(f"Annoy's wanted recall must be within (0, 1], got {recall}")
        for name, value in (("trees", trees), ("search_k", search_k)):
            if value is not None and not 1 <= value <= _LARGEST_COUNT:
                raise VectorIndexError(
                    f"Annoy's {name} must be within 1..{_LARGEST_COUNT}, got {value}"
                )
        self._wanted_recall = recall
        self._trees = trees
        self._search_k = search_k
        self._directory = directory
        self._seed = seed
        self._built: _Built | None = None

    @property
    def is_exact(self) -> bool:
        """False."""
        return False

    @property
    def recall(self) -> float:
        """Recall that the last `build` measured; 1 for a gallery of a single row.

        Raises:
            VectorIndexError: Nothing was built yet.
        """
        return self._require_built().recall

    @property
    def trees(self) -> int:
        """Size of the forest that was built.

        Raises:
            VectorIndexError: Nothing was built yet.
        """
        return self._require_built().trees

    @property
    def search_k(self) -> int:
        """Candidates looked at per query; more if many answers are asked for.

        Raises:
            VectorIndexError: Nothing was built yet.
        """
        return self._require_built().search_k

    def build(self, gallery: Tensor) -> None:
        """Replace the content; see the port.

        Raises:
            VectorIndexError: No rows, a row that is not of unit norm, a folder that cannot be
                written, or a recall that Annoy does not reach.
        """
        check_gallery(gallery)
        vectors = gallery.detach().cpu().float()  # (G, D)
        probes = draw_probes(vectors, seed=self._seed)
        for trees in _TREES if self._trees is None else (self._trees,):
            built = self._tune(self._grow(vectors, trees), probes=probes, trees=trees)
            if built.recall >= self._wanted_recall:
                break
        is_given = self._trees is not None and self._search_k is not None
        if built.recall < self._wanted_recall and not is_given:
            raise VectorIndexError(
                f"Annoy reaches a recall of {built.recall:.3f} by {built.trees} trees and search_k "
                f"{built.search_k}, not {self._wanted_recall}: raise or leave out the setting "
                "given, lower the wanted recall, or use the exact index"
            )
        self._built = replace(built, fingerprint=fingerprint_of(vectors))

    def search(self, queries: Tensor, k: int) -> Neighbours:
        """Rank the gallery rows found; see the port."""
        built = self._require_built()
        check_search(queries, k=k, width=built.width)
        num_answers = min(k, built.num_rows)
        search_k = built.search_k
        if self._search_k is None:
            search_k = min(_LARGEST_COUNT, max(search_k, num_answers * built.trees))
        vectors = queries.detach().cpu().float()  # (Q, D)
        return _ask(built.forest, vectors, k=num_answers, search_k=search_k)

    def save(self, path: str) -> None:
        """Write the forest and what was measured; see the port. It is mapped from there then."""
        built = self._require_built()
        plain = Path(f"{path}.forest")
        with replacing(path) as part:
            try:
                built.forest.save(str(plain))
                facts = _facts_of(built, num_bytes=plain.stat().st_size)
                add_facts(plain, part, facts=facts)
            finally:
                plain.unlink(missing_ok=True)
        self._built = replace(built, forest=_mapped(path, facts))

    def load(self, path: str, *, gallery: Tensor) -> None:
        """Map a forest from its file; see the port. A `search_k` given to the index holds."""
        facts = read_facts(path, width=gallery.shape[1])
        efforts = ("trees", "search_k")
        require_fit(facts, kind=_KIND, gallery=gallery, path=path, efforts=efforts)
        self._built = _Built(
            forest=_mapped(path, facts),
            width=facts.width,
            num_rows=facts.num_rows,
            trees=facts.effort["trees"],
            search_k=self._search_k or facts.effort["search_k"],
            recall=facts.recall,
            fingerprint=facts.fingerprint,
        )

    def _require_built(self) -> _Built:
        if self._built is None:
            raise not_built()
        return self._built

    def _grow(self, vectors: Tensor, trees: int) -> annoy.AnnoyIndex:
        """Build a forest and let Annoy map its file into memory."""
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
            # It holds every vector, those included that are erased later: a process that is killed
            # must not leave it behind.
            shutil.rmtree(folder, ignore_errors=True)
        return forest

    def _require_folder(self) -> Path:
        if self._directory is None:
            folder = Path(tempfile.mkdtemp(prefix="reid-annoy-"))
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
            return folder
        self._directory.mkdir(parents=True, exist_ok=True)
        return self._directory

    def _tune(self, forest: annoy.AnnoyIndex, *, probes: RecallProbes, trees: int) -> _Built:
        """Look at ever more candidates until enough probes find their nearest row."""
        missed = probes
        for search_k in self._candidate_counts(trees, num_rows=probes.num_rows):
            # More candidates include the fewer: what was found stays found.
            answers = _ask(forest, missed.vectors, k=missed.num_answers, search_k=search_k)
            missed = missed.without_found(answers)
            recall = 1 - len(missed) / max(1, len(probes))
            if recall >= self._wanted_recall:
                break
        return _Built(
            forest=forest,
            width=probes.vectors.shape[1],
            num_rows=probes.num_rows,
            trees=trees,
            search_k=search_k,
            recall=recall,
        )

    def _candidate_counts(self, trees: int, *, num_rows: int) -> Iterator[int]:
        if self._search_k is not None:
            yield self._search_k
            return
        largest = trees * min(num_rows, _CANDIDATES_PER_TREE)
        count = 2.0 * trees  # below it `search` would raise it: a probe has two answers
        while count < largest:
            yield int(count)
            count *= _STEP
        yield largest


def _facts_of(built: _Built, *, num_bytes: int) -> IndexFacts:
    return IndexFacts(
        kind=_KIND,
        num_rows=built.num_rows,
        width=built.width,
        fingerprint=built.fingerprint,
        recall=built.recall,
        effort={"trees": built.trees, "search_k": built.search_k},
        num_bytes=num_bytes,
    )


def _mapped(path: str, facts: IndexFacts) -> annoy.AnnoyIndex:
    forest = annoy.AnnoyIndex(facts.width, "angular")
    try:
        forest.load(path)
    except OSError as error:
        raise damaged(path, error) from error
    if forest.get_n_items() != facts.num_rows:
        raise damaged(path, "its parts disagree")
    return forest


def _ask(forest: annoy.AnnoyIndex, vectors: Tensor, *, k: int, search_k: int) -> Neighbours:
    """Ask for each vector's neighbours, on all cores: Annoy releases Python's lock.

    Each core walks its own share of the queries: a task per query would take longer to hand over
    than to answer.

    Args:
        forest: Built.
        vectors: (Q, D) float32 on the CPU.
        k: Answers per query, at most G.
        search_k: Candidates looked at.

    Returns:
        (Q, k), by cosine distance and row; -1 and infinity where too few were found.
    """
    indices = np.full((len(vectors), k), -1, dtype=np.int64)
    found = np.full((len(vectors), k), np.inf, dtype=np.float32)

    asked = vectors.numpy()
    num_workers = os.cpu_count() or 1

    def ask(worker: int) -> None:
        for query in range(worker, len(asked), num_workers):
            vector = asked[query].tolist()
            rows, angular = forest.get_nns_by_vector(vector, k, search_k, include_distances=True)
            indices[query, : len(rows)] = rows
            found[query, : len(rows)] = np.square(np.asarray(angular, dtype=np.float32)) / 2

    with ThreadPoolExecutor(num_workers) as pool:
        for _ in pool.map(ask, range(num_workers)):
            pass
    order = np.lexsort((indices, found))  # squares may tie where roots did not
    return Neighbours(
        indices=torch.from_numpy(np.take_along_axis(indices, order, axis=1)),
        distances=torch.from_numpy(np.take_along_axis(found, order, axis=1)),
    )
