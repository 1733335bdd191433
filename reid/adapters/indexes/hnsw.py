"""Approximate nearest-neighbour search by a navigable small-world graph (HNSW, of faiss).

Malkov and Yashunin 2018, arXiv:1603.09320. The graph finds candidates by vectors rounded to
float16, which halves the file; candidates are then ranked by their float32 vectors and true
distances.

Why faiss and not usearch? Both in float16, connectivity 32, expansion 100 for building and 64 for
searching, on two busy cores, the graph alone, opened by the package's own reader:

    16,000 generated, 1280-d      built    file    opened   recall@1, @10   batch     one query
        faiss 1.15                24.7 s   45 MB   3.3 ms   .999, .994        914/s   1.3 ms
        usearch 2.26              49.5 s   45 MB   4.5 ms   .995, .994        385/s   4.1 ms
    15,913 of Market-1501, 256-d
        faiss 1.15                 2.7 s   12 MB   4.7 ms   1.00, .999     15,780/s   0.10 ms
        usearch 2.26               2.7 s   13 MB   2.0 ms   1.00, .999      7,670/s   0.19 ms

faiss also builds the same graph on any number of cores. In 8 bits its file is half as large (25
MB), but recall@10 stays below .998 and .995, and wide vectors are searched no faster. With
connectivity 16, wide vectors need twice the expansion for the same recall. usearch is imported 70
ms faster.

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

from reid.adapters.indexes.approximate import ApproximateIndex, Built
from reid.adapters.indexes.index_files import IndexFacts, append_facts, damaged, read_facts
from reid.adapters.indexes.mapped_files import map_file
from reid.adapters.indexes.rescoring import rescore
from reid.domain.errors import VectorIndexError
from reid.domain.values.ranking import Neighbours

_BUILD_EXPANSION = 100
"""Nodes kept in view while a row is linked, as in the paper."""

_LEAST_EXPANSION = 16
_LARGEST_EXPANSION = 10_000
"""Largest expansion tried; a larger one would read most of the gallery."""

_ROWS_PER_STRETCH = 2**16
"""Rows added at once, so that a gallery mapped from a file is not copied as a whole."""

_LARGEST_CONNECTIVITY = 512
_FAISS_KIND = b"IHNs"
"""First bytes of faiss's files of such graphs."""


@dataclass(frozen=True, slots=True)
class _Graph:
    """A graph and its rows."""

    graph: faiss.Index
    gallery: Tensor
    """(G, D) float32 on the CPU."""

    held: object = None
    """Memory that the graph points into."""


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

        Args:
            recall: Wanted share of gallery rows whose nearest other row is found.
            connectivity: Links per row and layer (M of the paper), twice as many in the lowest.
            expansion: Rows kept in view while searching (ef of the paper), whatever the recall;
                None: chosen for the recall.

        Raises:
            VectorIndexError: A value is out of range.
        """
        super().__init__(recall=recall, effort=expansion)
        if not 2 <= connectivity <= _LARGEST_CONNECTIVITY:
            raise VectorIndexError(
                f"HNSW's connectivity must be within 2..{_LARGEST_CONNECTIVITY}, got {connectivity}"
            )
        self._connectivity = connectivity

    @property
    def expansion(self) -> int:
        """Rows kept in view per query; more if many answers are asked for.

        Raises:
            VectorIndexError: Nothing was built yet.
        """
        return self._effort or self._require_built().facts.effort

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

    def _efforts(self, structure: _Graph, num_rows: int) -> tuple[int, int]:  # noqa: ARG002
        return _LEAST_EXPANSION, max(_LEAST_EXPANSION, min(num_rows, _LARGEST_EXPANSION))

    def _write(self, built: Built[_Graph], part: Path) -> IndexFacts:
        try:
            faiss.write_index(built.structure.graph, str(part))
        except RuntimeError as error:
            raise OSError(error) from error
        return append_facts(part, built.facts)

    def _facts_in(self, path: str, gallery: Tensor) -> IndexFacts:  # noqa: ARG002
        return read_facts(path)

    def _read(self, path: str, facts: IndexFacts, gallery: Tensor) -> _Graph:
        try:
            content = map_file(Path(path), facts.num_bytes)
            if not content[: len(_FAISS_KIND)].tobytes() == _FAISS_KIND:
                raise damaged(path, "its beginning is not that of a graph")
            # Links and vectors are not copied; the reader checks links.
            reader = faiss.ZeroCopyIOReader(faiss.swig_ptr(content), len(content))
            graph = faiss.read_index(reader)
            _require_searchable(graph, facts)
        except (OSError, ValueError, RuntimeError, MemoryError) as error:
            raise damaged(path, error) from error
        return _Graph(graph, gallery.detach().cpu().float(), held=content)

    def _told(self, structure: _Graph, effort: int) -> str:  # noqa: ARG002
        return f"a connectivity of {self._connectivity} and an expansion of {effort}"


def _require_searchable(graph: faiss.Index, facts: IndexFacts) -> None:
    """Refuse graphs that faiss reads, but whose search would leave their memory.

    Raises:
        ValueError: It is a graph of other rows, or damaged.
    """
    hnsw, storage = graph.hnsw, faiss.downcast_index(graph.storage)
    shape = (facts.num_rows, facts.width)
    code_bytes = 2 * facts.num_rows * facts.width
    if not (graph.ntotal, graph.d) == (storage.ntotal, storage.d) == shape or (
        graph.metric_type != faiss.METRIC_INNER_PRODUCT or storage.codes.size() != code_bytes
    ):
        raise ValueError("it is a graph of other rows")
    levels, offsets = _view(hnsw.levels), _view(hnsw.offsets).view(np.int64)  # (G,), (G + 1,)
    if len(levels) != facts.num_rows or len(offsets) != facts.num_rows + 1:
        raise ValueError("it is a graph of other rows")
    if not 0 <= hnsw.entry_point < facts.num_rows or not (
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
