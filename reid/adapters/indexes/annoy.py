"""Approximate nearest-neighbour search by a forest of random projection trees (Annoy), in a file.

Annoy ranks its candidates by their exact distance, so it errs only by looking at too few of them.
`build` finds the number of candidates that reaches the wanted recall. Annoy's "angular" distance is
sqrt(2 (1 - cos)) and is converted to 1 - cos.

Annoy maps a whole file and looks for its roots from the end, where copies of them lie, in nodes
that count all rows below them. Annoy allows nothing behind the copies, so the facts of an index lie
before them, in nodes without rows and without links to them. There Annoy stops looking for roots.
It follows a node's links without checking them, so a checksum of the links, not of the vectors, is
computed when a file is written and when it is opened.

Letters: G gallery, Q queries, D width, K answers, N nodes.
"""

import os
import struct
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import annoy
import numpy as np
import torch
from torch import Tensor

from reid.adapters.indexes.approximate import ApproximateIndex
from reid.adapters.indexes.index_files import LARGEST_EFFORT, IndexFacts, reading
from reid.adapters.indexes.stored import Built
from reid.domain.values.features import Neighbours

_TREES = (50, 100)
"""Forest sizes tried, in order. Of 10, 25, 50, 100 and 200 trees, each with the candidates that a
recall of .95 takes, 50 answered the most queries per second, or within a sixth of the most: on
15,913 real vectors of width 256, where a leaf of one tree suffices, and on generated ones of width
1280 (both by `python -m benchmarks search`). Fewer trees need more candidates for the same recall;
more trees have more roots to look at and take longer to grow."""

_CANDIDATES_PER_TREE = 10_000
"""Most candidates tried; galleries up to this size are then searched in full."""

_HEADER = struct.Struct("<iq")
"""Of a node: rows below it; two children, whose room holds the number of the facts' nodes."""

_NUMBER_BYTES = 4
_MAGIC = b"reid-annoy-1"
_MOST_NODES = 2**16


@dataclass(frozen=True, slots=True)
class _Forest:
    """A forest and its number of trees, which Annoy miscounts in small files."""

    forest: annoy.AnnoyIndex
    trees: int

    def __str__(self) -> str:
        return f"{self.trees} trees"


class AnnoyIndex(ApproximateIndex[_Forest]):
    """Search a forest, mapped from its file once it is saved; approximate.

    Each core grows trees from its own seed, so answers repeat on machines with as many cores; the
    bytes of the file differ from build to build.
    """

    kind = "annoy"
    name = "Annoy"
    effort_name = "search_k"

    def __init__(
        self, *, recall: float = 0.95, trees: int | None = None, search_k: int | None = None
    ) -> None:
        """Start empty; trees, and candidates per query, are chosen for the recall if not given.

        Where both are given, they are used whatever the recall is.
        """
        super().__init__(recall=recall, effort=search_k)
        self._trees = trees
        self._leaves_choice = trees is None or search_k is None

    @property
    def trees(self) -> int:
        """Size of the forest that was built."""
        return self._require_built().structure.trees

    def save(self, path: str) -> None:
        """Write the forest, and map the file instead of the memory searched before."""
        super().save(path)
        facts = self._require_built().facts
        with reading(path):
            self._built = Built(_mapped(Path(path), facts), facts)

    def _structures(self, vectors: Tensor) -> Iterator[_Forest]:
        for trees in _TREES if self._trees is None else (self._trees,):
            forest = annoy.AnnoyIndex(vectors.shape[1], "angular")
            forest.set_seed(0)
            for row, vector in enumerate(vectors.numpy()):
                forest.add_item(row, vector.tolist())
            forest.build(trees, n_jobs=-1)
            yield _Forest(forest, trees)

    def _ask(self, structure: _Forest, queries: Tensor, *, k: int, effort: int) -> Neighbours:
        """Find each vector's neighbours, on all cores: Annoy releases Python's lock.

        Each core takes a share of the queries, because a task takes longer to start than to answer.
        """
        if self._effort is None:
            effort = min(LARGEST_EFFORT, max(effort, k * structure.trees))
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

    def _efforts(self, structure: _Forest) -> tuple[int, int]:
        trees, num_rows = structure.trees, structure.forest.get_n_items()
        # At least two per tree, as `_ask` would raise it: a probe has two answers.
        return 2 * trees, trees * min(num_rows, _CANDIDATES_PER_TREE)

    def _write(self, built: Built[_Forest], part: Path) -> IndexFacts:
        plain = part.with_name(f"{part.name}.forest")
        try:
            built.structure.forest.save(str(plain))
            return _add_facts(plain, part, replace(built.facts, trees=built.structure.trees))
        finally:
            plain.unlink(missing_ok=True)

    def _read(self, path: Path, gallery: Tensor) -> Built[_Forest]:
        facts = _read_facts(path, gallery)
        return Built(_mapped(path, facts), facts)


def _mapped(path: Path, facts: IndexFacts) -> _Forest:
    forest = annoy.AnnoyIndex(facts.width, "angular")
    forest.load(str(path))
    if forest.get_n_items() != facts.num_rows:
        raise ValueError("its parts disagree")
    return _Forest(forest, facts.trees)


def _add_facts(source: Path, target: Path, facts: IndexFacts) -> IndexFacts:
    """Copy a file of Annoy's and insert facts, completed by those of the file."""
    nodes = _nodes_of(source, facts.width)  # (N, node bytes)
    forest, copies = nodes[: -facts.trees], nodes[-facts.trees :]
    checksum = _checksum(forest, copies, num_rows=facts.num_rows)
    facts = replace(facts, num_bytes=nodes.nbytes, checksum=checksum)
    content = _MAGIC + facts.encode()
    room = nodes.shape[1] - _HEADER.size
    parts = [content[start : start + room] for start in range(0, len(content), room)]
    with target.open("wb") as file:
        file.write(forest.data)
        for part in parts:
            file.write(_HEADER.pack(0, len(parts)) + part.ljust(room, b"\0"))
        file.write(copies.data)
    return facts


def _read_facts(path: Path, gallery: Tensor) -> IndexFacts:
    """Read the facts that `_add_facts` wrote, and check the file's links."""
    nodes = _nodes_of(path, gallery.shape[1])
    # Copies of roots have as many rows below them as the last node; those of the facts have none.
    rows_below = nodes[:, :_NUMBER_BYTES].copy().view("<i4")[:, 0]  # (N,)
    others = np.flatnonzero(rows_below != rows_below[-1])
    end = int(others[-1]) + 1 if len(others) else 0
    _, num_nodes = _HEADER.unpack(nodes[end - 1, : _HEADER.size].tobytes())
    content = b""
    if 0 < num_nodes <= min(_MOST_NODES, end):
        content = nodes[end - num_nodes : end, _HEADER.size :].tobytes().rstrip(b"\0")
    if not content.startswith(_MAGIC):
        raise ValueError("what was measured is missing")
    facts = IndexFacts.decode(content.removeprefix(_MAGIC), kind=AnnoyIndex.kind, gallery=gallery)
    forest, copies = nodes[: end - num_nodes], nodes[end:]
    if facts.trees != len(copies) or facts.num_bytes != forest.nbytes + copies.nbytes:
        raise ValueError("parts of it are missing")
    if facts.checksum != _checksum(forest, copies, num_rows=facts.num_rows):
        raise ValueError("its links are damaged")
    return facts


def _nodes_of(path: Path, width: int) -> np.ndarray:
    """Map a file: (N, node bytes) uint8."""
    content: np.ndarray = np.memmap(path, dtype=np.uint8, mode="r")
    node_bytes = _HEADER.size + _NUMBER_BYTES * width
    if len(content) % node_bytes:
        raise ValueError("its length fits no such rows")
    return content.reshape(-1, node_bytes)


def _checksum(forest: np.ndarray, copies: np.ndarray, *, num_rows: int) -> int:
    """CRC-32 of the heads of rows and of all other nodes, whose numbers may be links."""
    found = 0
    for part in (forest[:num_rows, : _HEADER.size], forest[num_rows:], copies):
        found = zlib.crc32(np.ascontiguousarray(part).data, found)
    return found
