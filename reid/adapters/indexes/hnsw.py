"""Approximate nearest-neighbour search by a navigable small-world graph (HNSW, of faiss).

Malkov and Yashunin 2018, arXiv:1603.09320. The graph finds candidates by vectors rounded to
float16, which halves the file; candidates are then ranked by their float32 vectors and true
distances.

Why faiss and not usearch? Both in float16, connectivity 32, expansion 100 for building and 64 for
searching, on two busy cores, 16,000 generated vectors of 1280-d: faiss 1.15 builds in 24.7 s, not
49.5 s, and answers 914 queries per second, not 385, at a recall@10 of .994 each; with 15,913 of
Market-1501, 256-d, both build in 2.7 s, and it answers twice as many. It also builds the same graph
on any number of cores. In 8 bits its file is half as large, but recall@10 stays below .998 and
.995, and wide vectors are searched no faster. With connectivity 16, wide vectors need twice the
expansion for the same recall. usearch is imported 70 ms faster.

Letters: G gallery, Q queries, D width, K answers, L links.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor

from reid.adapters.indexes.approximate import ApproximateIndex
from reid.adapters.indexes.index_files import IndexFacts, append_facts, map_file, read_facts
from reid.adapters.indexes.stored import Built
from reid.domain.ranking.distances import rescore
from reid.domain.values.features import Neighbours

_BUILD_EXPANSION = 100  # nodes kept in view while a row is linked, as in the paper
_LEAST_EXPANSION = 16
_LARGEST_EXPANSION = 10_000  # largest expansion tried; a larger one would read most of the gallery
_ROWS_PER_STRETCH = 2**16
"""Rows added at once, so that a gallery mapped from a file is not copied as a whole."""

_FAISS_KIND = b"IHNs"  # first bytes of faiss's files of such graphs


@dataclass(frozen=True, slots=True)
class _Graph:
    """A graph and its rows."""

    graph: faiss.Index
    gallery: Tensor  # (G, D) float32 on the CPU
    held: object = None  # memory that the graph points into

    def __str__(self) -> str:
        return f"a connectivity of {self.graph.hnsw.nb_neighbors(1)}"


class HnswIndex(ApproximateIndex[_Graph]):
    """Search a graph of near neighbours; approximate.

    The same rows make the same graph and the same answers, whatever the number of cores. A gallery
    on the CPU is kept, not copied.
    """

    kind = "hnsw"
    name = "HNSW"
    effort_name = "expansion"

    def __init__(
        self, *, recall: float = 0.95, connectivity: int = 32, expansion: int | None = None
    ) -> None:
        """Start empty.

        `connectivity` is the number of links per row and layer (M of the paper), twice as many in
        the lowest; `expansion` that of rows kept in view while searching (ef).
        """
        super().__init__(recall=recall, effort=expansion)
        self._connectivity = connectivity

    def _structures(self, vectors: Tensor) -> Iterator[_Graph]:
        graph = faiss.IndexHNSWSQ(
            vectors.shape[1],
            faiss.ScalarQuantizer.QT_fp16,
            self._connectivity,
            faiss.METRIC_INNER_PRODUCT,
        )
        graph.hnsw.efConstruction = _BUILD_EXPANSION
        for stretch in torch.split(vectors, _ROWS_PER_STRETCH):
            graph.add(stretch.numpy())
        yield _Graph(graph, vectors)

    def _ask(self, structure: _Graph, queries: Tensor, *, k: int, effort: int) -> Neighbours:
        """Find candidates in the graph and rank them by their true distance."""
        if len(queries) == 0:
            nothing = torch.empty((0, k))
            return Neighbours(indices=nothing.long(), distances=nothing)
        gallery = structure.gallery
        # More than twice as many, since rounding may move a row just outside, and since ties at the
        # boundary are broken by row number.
        num_candidates = min(len(gallery), max(k, min(2 * k + 16, effort)))
        parameters = faiss.SearchParametersHNSW(efSearch=max(effort, num_candidates))
        _, rows = structure.graph.search(queries.numpy(), num_candidates, params=parameters)
        return rescore(torch.from_numpy(rows), queries=queries, gallery=gallery, k=k)

    def _efforts(self, structure: _Graph) -> tuple[int, int]:
        num_rows = len(structure.gallery)
        return _LEAST_EXPANSION, max(_LEAST_EXPANSION, min(num_rows, _LARGEST_EXPANSION))

    def _write(self, built: Built[_Graph], part: Path) -> IndexFacts:
        try:
            faiss.write_index(built.structure.graph, str(part))
        except RuntimeError as error:
            raise OSError(error) from error
        return append_facts(part, built.facts)

    def _read(self, path: Path, gallery: Tensor) -> Built[_Graph]:
        facts = read_facts(path, kind=self.kind, gallery=gallery)
        content = map_file(path, facts.num_bytes)
        if content[: len(_FAISS_KIND)].tobytes() != _FAISS_KIND:
            raise ValueError("its beginning is not that of a graph")
        # Links and vectors are not copied; the reader checks links.
        reader = faiss.ZeroCopyIOReader(faiss.swig_ptr(content), len(content))
        graph = faiss.read_index(reader)
        _require_searchable(graph, facts)
        return Built(_Graph(graph, gallery.cpu().float(), held=content), facts)


def _require_searchable(graph: faiss.Index, facts: IndexFacts) -> None:
    """Refuse graphs that faiss reads, but whose search would leave their memory: ValueError."""
    hnsw, storage, num_rows = graph.hnsw, faiss.downcast_index(graph.storage), facts.num_rows
    levels, offsets = _view(hnsw.levels), _view(hnsw.offsets).view(np.int64)  # (G,), (G + 1,)
    if not (
        (graph.ntotal, graph.d) == (storage.ntotal, storage.d) == (num_rows, facts.width)
        and graph.metric_type == faiss.METRIC_INNER_PRODUCT
        and storage.codes.size() == 2 * num_rows * facts.width
        and (len(levels), len(offsets)) == (num_rows, num_rows + 1)
    ):
        raise ValueError("it is a graph of other rows")
    if not 0 <= hnsw.entry_point < num_rows or not (
        levels[hnsw.entry_point] == levels.max() == hnsw.max_level + 1
    ):
        raise ValueError("a search would begin nowhere")
    links, links_up_to = _view(hnsw.neighbors), faiss.vector_to_array(hnsw.cum_nneighbor_per_level)
    for layer in range(1, hnsw.max_level + 1):
        # A link to a row without this layer would be followed beyond the row's links.
        is_there = np.append(levels > layer, True)  # (G + 1,); no link is -1, the last of them
        rows = np.flatnonzero(is_there[:-1])
        num_links = int(links_up_to[layer + 1] - links_up_to[layer])
        own = sliding_window_view(links, num_links)[offsets[rows] + links_up_to[layer]]
        if not is_there[own].all():
            raise ValueError("a link leads to a row that has not its layer")


def _view(vector: Any) -> np.ndarray:  # noqa: ANN401  (faiss has no types)
    """See faiss's vector as an array, in its memory."""
    found: np.ndarray = faiss.rev_swig_ptr(vector.data(), vector.size())
    return found
