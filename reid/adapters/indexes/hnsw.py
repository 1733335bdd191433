"""Approximate nearest-neighbour search by a navigable small-world graph (HNSW, of faiss).

Malkov and Yashunin 2018, arXiv:1603.09320. The graph finds candidates by vectors rounded to
float16, which halves the file; candidates are then compared by their float32 vectors, so that
distances are true and rounding puts no row behind another.

Why faiss and not usearch, both in float16, connectivity 32, expansion 100 while building and 64
while searching, on two busy cores, the graph alone, opened by the package's own reader:

    16,000 generated, 1280-d      built    file    opened   recall@1, @10   batch     one query
        faiss 1.15                24.7 s   45 MB   3.3 ms   .999, .994        914/s   1.3 ms
        usearch 2.26              49.5 s   45 MB   4.5 ms   .995, .994        385/s   4.1 ms
    15,913 of Market-1501, 256-d
        faiss 1.15                 2.7 s   12 MB   4.7 ms   1.00, .999     15,780/s   0.10 ms
        usearch 2.26               2.7 s   13 MB   2.0 ms   1.00, .999      7,670/s   0.19 ms

faiss also builds the same graph on any number of cores. Stored in 8 bits, its file is half as
large (25 MB), but recall@10 ends at .998 and .995 and wide vectors are searched no faster. With
connectivity 16 the wide ones need twice the expansion for the same recall. In favour of usearch
speaks that it is imported 70 ms sooner.

Letters: G gallery, Q queries, D width, K answers, C candidates.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import faiss
import torch
from torch import Tensor

from reid.adapters.indexes.hnsw_graphs import (
    LARGEST_CONNECTIVITY,
    map_graph,
    new_graph,
    write_graph,
)
from reid.adapters.indexes.recall_probes import RecallProbes, draw_probes
from reid.adapters.indexes.rescoring import rescore
from reid.adapters.indexes.vector_checks import check_gallery, check_search, not_built
from reid.adapters.indexes.written import (
    IndexFacts,
    append_facts,
    damaged,
    fingerprint_of,
    read_last_facts,
    replacing,
    require_fit,
)
from reid.domain.errors import VectorIndexError
from reid.domain.values.ranking import Neighbours

_KIND = "hnsw"
_BUILD_EXPANSION = 100
"""Nodes kept in view while a row is linked: the paper's usual hundred."""

_LEAST_EXPANSION = 16
_STEP = 1.5
"""Factor to the next expansion tried, which bounds how many too many are looked at."""

_LARGEST_EXPANSION = 10_000
"""Upper end of the expansions tried; a wider one would read most of any gallery it could help."""

_ROWS_PER_STRETCH = 2**16
"""Rows handed over at once: no second copy of a gallery that is mapped from a file."""

_PROBE_SEED = 0
"""Of the rows by which recall is measured."""

_MAGIC = b"reid-hnsw-2"


@dataclass(frozen=True, slots=True)
class _Built:
    """A searchable graph and what is known of it."""

    graph: faiss.Index
    gallery: Tensor
    """(G, D) float32 on the CPU."""

    expansion: int
    recall: float
    held: object = None
    """Memory that the graph points into."""

    def answer(self, queries: Tensor, k: int) -> Neighbours:
        """Find candidates in the graph and rank them by their true distance; k at most G."""
        # Twice as many and some: rounding to float16 may have put a row just outside, and of
        # equal rows at the boundary those of the smallest numbers are wanted.
        num_candidates = min(len(self.gallery), max(k, min(2 * k + 16, self.expansion)))
        effort = faiss.SearchParametersHNSW(efSearch=max(self.expansion, num_candidates))
        if len(queries) == 0:
            return Neighbours(
                indices=torch.empty((0, k), dtype=torch.int64), distances=torch.empty((0, k))
            )
        _, rows = self.graph.search(queries.numpy(), num_candidates, params=effort)
        return rescore(torch.from_numpy(rows), queries=queries, gallery=self.gallery, k=k)


class HnswIndex:
    """Search a graph of near neighbours; approximate.

    The same rows make the same graph and the same answers, whatever the number of cores.
    """

    def __init__(
        self,
        *,
        recall: float = 0.95,
        connectivity: int = 32,
        expansion: int | None = None,
    ) -> None:
        """Start empty.

        Args:
            recall: Wanted share of gallery rows whose nearest other row is found.
            connectivity: Links per row and layer (M of the paper), twice as many in the lowest.
            expansion: Rows kept in view while searching (ef of the paper); chosen for the recall
                if None, and used whatever the recall is if given.

        Raises:
            VectorIndexError: A value is out of range.
        """
        if not 0 < recall <= 1:
            raise VectorIndexError(f"HNSW's wanted recall must be within (0, 1], got {recall}")
        if not 2 <= connectivity <= LARGEST_CONNECTIVITY:
            raise VectorIndexError(
                f"HNSW's connectivity must be within 2..{LARGEST_CONNECTIVITY}, got {connectivity}"
            )
        if expansion is not None and not 1 <= expansion <= 2**31 - 1:
            raise VectorIndexError(f"HNSW's expansion must be within 1..2**31 - 1, got {expansion}")
        self._wanted_recall = recall
        self._connectivity = connectivity
        self._expansion = expansion
        self._built: _Built | None = None

    @property
    def is_exact(self) -> bool:
        """False."""
        return False

    @property
    def recall(self) -> float:
        """Recall that `build` measured; 1 for a gallery of a single row.

        Raises:
            VectorIndexError: Nothing was built yet.
        """
        return self._require_built().recall

    @property
    def expansion(self) -> int:
        """Rows kept in view per query; more if many answers are asked for.

        Raises:
            VectorIndexError: Nothing was built yet.
        """
        return self._require_built().expansion

    def build(self, gallery: Tensor) -> None:
        """Replace the content; see the port. A gallery on the CPU is kept, not copied.

        Raises:
            VectorIndexError: No rows, a row that is not of unit norm, or a recall that the graph
                does not reach.
        """
        check_gallery(gallery)
        vectors = gallery.detach().cpu().float()  # (G, D)
        graph = new_graph(vectors.shape[1], connectivity=self._connectivity)
        graph.hnsw.efConstruction = _BUILD_EXPANSION
        for stretch in torch.split(vectors, _ROWS_PER_STRETCH):
            graph.add(stretch.numpy())
        built = self._tune(graph, vectors)
        if built.recall < self._wanted_recall and self._expansion is None:
            raise VectorIndexError(
                f"HNSW reaches a recall of {built.recall:.3f} by an expansion of "
                f"{built.expansion}, not {self._wanted_recall}: raise the connectivity "
                f"({self._connectivity}), lower the wanted recall, or use the exact index"
            )
        self._built = built

    def search(self, queries: Tensor, k: int) -> Neighbours:
        """Rank the gallery rows found; see the port."""
        built = self._require_built()
        check_search(queries, k=k, width=built.gallery.shape[1])
        vectors = queries.detach().cpu().float().contiguous()  # (Q, D)
        return built.answer(vectors, min(k, len(built.gallery)))

    def save(self, path: str) -> None:
        """Write the graph, its rounded vectors and what was measured; see the port."""
        built = self._require_built()
        with replacing(path) as part:
            with part.open("wb") as file:
                write_graph(file, built.graph)
            facts = IndexFacts(
                kind=_KIND,
                num_rows=len(built.gallery),
                width=built.gallery.shape[1],
                fingerprint=fingerprint_of(built.gallery),
                recall=built.recall,
                effort={"expansion": built.expansion},
                num_bytes=part.stat().st_size,
            )
            append_facts(part, facts, magic=_MAGIC)

    def load(self, path: str, *, gallery: Tensor) -> None:
        """Map a graph from its file; see the port. An expansion given to the index holds."""
        facts = read_last_facts(path, magic=_MAGIC)
        require_fit(facts, kind=_KIND, gallery=gallery, path=path, efforts=("expansion",))
        try:
            mapped = map_graph(
                Path(path),
                num_rows=facts.num_rows,
                width=facts.width,
                num_bytes=facts.num_bytes,
            )
        except (OSError, ValueError) as error:
            raise damaged(path, error) from error
        self._built = _Built(
            graph=mapped.graph,
            held=mapped.content,
            gallery=gallery.detach().cpu().float(),
            expansion=self._expansion or facts.effort["expansion"],
            recall=facts.recall,
        )

    def _require_built(self) -> _Built:
        if self._built is None:
            raise not_built()
        return self._built

    def _tune(self, graph: faiss.Index, vectors: Tensor) -> _Built:
        """Keep ever more rows in view until enough probes find their nearest row."""
        probes = missed = draw_probes(vectors, seed=_PROBE_SEED)
        for expansion in self._expansions(len(vectors)):
            built = _Built(graph=graph, gallery=vectors, expansion=expansion, recall=0.0)
            missed = _missed(built, probes)
            recall = 1 - len(missed) / max(1, len(probes))
            if recall >= self._wanted_recall:
                break
        return _Built(graph=graph, gallery=vectors, expansion=expansion, recall=recall)

    def _expansions(self, num_rows: int) -> Iterator[int]:
        if self._expansion is not None:
            yield self._expansion
            return
        largest = max(_LEAST_EXPANSION, min(num_rows, _LARGEST_EXPANSION))
        wide = float(_LEAST_EXPANSION)
        while wide < largest:
            yield int(wide)
            wide *= _STEP
        yield largest


def _missed(built: _Built, probes: RecallProbes) -> RecallProbes:
    return probes.without_found(built.answer(probes.vectors, probes.num_answers))
