"""One query against a gallery, and how fast which index finds which share of nearest images.

The gallery is Market-1501's as a small public model describes it, where the file that
REID_MARKET1501_FEATURES names is at hand; generated otherwise.

Letters: Q queries, G gallery, D width, K answers.
"""

import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.clusters import embedded_sets
from benchmarks.harness import Row, Scale, compare
from reid.adapters.indexes.annoy import AnnoyIndex
from reid.adapters.indexes.exact import ExactIndex
from reid.adapters.indexes.hnsw import HnswIndex
from reid.domain.ranking.distances import is_as_near
from reid.ports.vector_index import VectorIndex

VARIABLE = "REID_MARKET1501_FEATURES"
SINGLE_GOAL_SECONDS = 3e-3
RECALL_GOAL = 0.95
TOLERANCE = 1e-6
"""Of a distance that two ways of adding up give."""

PROBE_ERROR = 0.015
QUERIES_AT_ONCE = 512


@dataclass(frozen=True)
class Size:
    """How much work."""

    queries: int
    gallery: int
    identities: int
    width: int
    single_queries: int
    runs: int
    annoy: tuple[tuple[int | None, int | None], ...]
    """Trees and candidates; None where the index chooses."""

    expansions: tuple[int, ...]
    """Nodes that HNSW keeps in view while it searches."""


FULL = Size(
    queries=3368,
    gallery=15913,
    identities=750,
    width=1280,
    single_queries=100,
    runs=3,
    annoy=(
        (None, None),
        (10, None),
        (25, None),
        (50, None),
        (100, None),
        (200, None),
        (25, 25),
        (50, 50),
        (50, 10_000),
    ),
    expansions=(8, 16, 32, 64, 128),
)
USUAL = replace(
    FULL, single_queries=50, runs=2, annoy=((None, None), (50, 10_000)), expansions=(16, 64)
)
QUICK = Size(
    queries=60,
    gallery=500,
    identities=20,
    width=64,
    single_queries=5,
    runs=1,
    annoy=((None, None), (10, 100)),
    expansions=(16,),
)


def rows(scale: Scale) -> Iterator[Row]:
    """Time a single query, then every index with all queries."""
    size = scale.choose(QUICK, USUAL, FULL)
    frontier = _Frontier(size, is_real_wanted=scale is not Scale.QUICK)
    for num_answers in (1, 100):
        yield _single_row(size, num_answers)
    yield frontier.row("exact", ExactIndex())
    for trees, search_k in size.annoy:
        yield frontier.annoy_row(trees, search_k)
    for wide in size.expansions:
        yield frontier.row(f"HNSW, expansion {wide}", HnswIndex(expansion=wide))


def _single_row(size: Size, num_answers: int) -> Row:
    queries, gallery = _generated(size)
    index = ExactIndex()
    index.build(gallery)
    step = max(1, len(queries) // size.single_queries)
    singles = torch.split(queries[::step], 1)

    def ours() -> list[Tensor]:
        return [index.search(query, num_answers).distances for query in singles]

    def plain() -> list[Tensor]:
        return [1 - (query @ gallery.T).topk(num_answers).values for query in singles]

    timing = compare(ours, plain, runs=size.runs)
    difference = float((torch.cat(ours()) - torch.cat(plain())).abs().max())
    timing = replace(
        timing,
        ours_seconds=timing.ours_seconds / len(singles),
        plain_seconds=timing.plain_seconds / len(singles),
    )
    return Row(
        part=f"one query, {len(gallery)}, {gallery.shape[1]}-d, {num_answers} answers",
        ours="screened in float16, checked in float32",
        plain="product and top-k in float32",
        goal=f"< {SINGLE_GOAL_SECONDS * 1e3:g} ms, exact",
        is_met=timing.ours_seconds < SINGLE_GOAL_SECONDS and difference <= TOLERANCE,
        exactness=f"{difference:.0e} largest difference of distances",
        **asdict(timing),
    )


class _Frontier:
    """Recall and speed of indexes on one gallery."""

    def __init__(self, size: Size, *, is_real_wanted: bool) -> None:
        real = _real_vectors() if is_real_wanted else None
        self._name = "generated" if real is None else "real"
        self._queries, self._gallery = real or _generated(size)
        self._nearest = self._plain()
        self._runs = size.runs

    def annoy_row(self, trees: int | None, search_k: int | None) -> Row:
        """Measure Annoy; what is None it chooses for the wanted recall."""
        index = AnnoyIndex(recall=RECALL_GOAL, trees=trees, search_k=search_k)
        return self.row("Annoy", index, is_recall_wanted=search_k is None)

    def row(self, name: str, index: VectorIndex, *, is_recall_wanted: bool = False) -> Row:
        """Measure an index beside the plain product."""
        began = time.perf_counter()
        index.build(self._gallery)
        build_seconds = time.perf_counter() - began
        if isinstance(index, AnnoyIndex):
            name = f"{name}, {index.trees} trees, search_k {index.effort}"
        timing = compare(lambda: index.search(self._queries, 1), self._plain, runs=self._runs)
        found = index.search(self._queries, 1).distances  # (Q, 1)
        recall = float(is_as_near(found, self._nearest).double().mean())
        speed = len(self._queries) / timing.ours_seconds
        goal = f"recall >= {RECALL_GOAL}" if is_recall_wanted else "a point of the frontier"
        return Row(
            part=f"{name}, {len(self._queries)} x {len(self._gallery)} {self._name}, "
            f"{self._gallery.shape[1]}-d",
            ours=name,
            plain="product and top-k in float32",
            goal=goal,
            # Within two standard errors of the recall that the index measured by its probes.
            is_met=not is_recall_wanted or recall >= RECALL_GOAL - PROBE_ERROR,
            exactness=f"recall@1 {recall:.3f}, {speed:.0f}/s, built in {build_seconds:.1f} s",
            details={
                "recall_at_1": recall,
                "queries_per_second": speed,
                "build_seconds": build_seconds,
            },
            **asdict(timing),
        )

    def _plain(self) -> Tensor:
        """Find the distances of the nearest: (Q, 1)."""
        parts = torch.split(self._queries, QUERIES_AT_ONCE)
        return torch.cat([1 - (part @ self._gallery.T).topk(1).values for part in parts])


def _real_vectors() -> tuple[Tensor, Tensor] | None:
    path = os.environ.get(VARIABLE)
    if path is None or not Path(path).is_file():
        return None
    with np.load(path, allow_pickle=False) as file:
        subsets = [torch.from_numpy(file[f"{name}_features"]) for name in ("query", "gallery")]
    queries, gallery = (F.normalize(vectors.float(), dim=1) for vectors in subsets)
    return queries, gallery


def _generated(size: Size) -> tuple[Tensor, Tensor]:
    queries, gallery = embedded_sets(
        queries=size.queries, gallery=size.gallery, identities=size.identities, width=size.width
    )
    return queries.vectors, gallery.vectors
