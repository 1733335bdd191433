"""Measure how much of a gallery each index finds, and how fast.

Letters: G gallery, Q queries, D width, K answers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from reid.domain.errors import ReidError, VectorIndexError
from reid.domain.ranking.distances import is_as_near
from reid.domain.seeding import generator_for
from reid.domain.values.features import Neighbours
from reid.ports.vector_index import VectorIndex

_Made = TypeVar("_Made")

NUM_ANSWERS = 10
QUICK_MILLISECONDS = 10.0  # exact search within this time is fast enough
WANTED_RECALL = 0.95
_MOST_QUERIES = 1000
_HELD_OUT_SHARE = 5
_SINGLE_QUERIES = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexFigures:
    """Measurements of one index."""

    kind: str
    is_exact: bool
    recall_at_1: float
    recall_at_10: float  # share of the ten nearest images found, or of all where there are fewer
    queries_per_second: float  # all queries at once
    milliseconds_per_query: float  # median of queries one at a time
    build_seconds: float
    num_bytes: int  # size of the index file, beside the vectors; 0 where there is none


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexBenchReport:
    """Measurements of all indexes, and the recommended one."""

    num_rows: int
    width: int
    num_queries: int
    figures: tuple[IndexFigures, ...]
    failures: tuple[str, ...]  # a sentence per index that could not be measured
    choice: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchIndexes:
    """Builds each index over the same vectors and searches it with the same queries."""

    kinds: Mapping[str, Callable[[], VectorIndex]]  # by the names that settings use
    exact: Callable[[], VectorIndex]  # makes the index that the others are compared with
    clock: Callable[[], float]
    size_of: Callable[[VectorIndex], int | None]  # bytes in a file; None where it has none
    seed: int

    def run(self, vectors: Tensor, *, queries: Tensor | None = None) -> IndexBenchReport:
        """Measure every index.

        Vectors are (G, D) float32 with rows of unit L2 norm, queries (Q, D) likewise; without them
        up to 1,000 rows, a fifth at most, are held out.

        Raises:
            VectorIndexError: There is nothing to ask, widths differ, or no index can be built.
        """
        gallery, asked = self._divided(vectors) if queries is None else (vectors, queries)
        if len(gallery) == 0 or len(asked) == 0:
            raise VectorIndexError(
                f"{len(vectors)} vectors are too few to compare indexes: name a larger gallery"
            )
        asked = asked[:_MOST_QUERIES]
        reference = self.exact()
        reference.build(gallery)
        nearest = reference.search(asked, NUM_ANSWERS)
        figures, failures = [], []
        for kind, create in self.kinds.items():
            try:
                figures.append(self._measure(kind, create(), gallery, asked, nearest))
            except ReidError as error:
                failures.append(f"{kind}: {error}")
        if not figures:
            raise VectorIndexError("no index could be measured: " + "; ".join(failures))
        choice, reason = advise(figures)
        return IndexBenchReport(
            num_rows=len(gallery),
            width=gallery.shape[1],
            num_queries=len(asked),
            figures=tuple(figures),
            failures=tuple(failures),
            choice=choice,
            reason=reason,
        )

    def _divided(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        count = min(_MOST_QUERIES, len(vectors) // _HELD_OUT_SHARE)
        generator = generator_for(self.seed, "index bench")
        order = torch.randperm(len(vectors), generator=generator)
        return vectors[order[count:].sort().values], vectors[order[:count]]

    def _measure(
        self, kind: str, index: VectorIndex, gallery: Tensor, queries: Tensor, nearest: Neighbours
    ) -> IndexFigures:
        _, build_seconds = self._timed(lambda: index.build(gallery))
        index.search(queries[:1], NUM_ANSWERS)  # the preparation by a first search is not timed
        answers, seconds = self._timed(lambda: index.search(queries, NUM_ANSWERS))
        singles = [
            self._timed(partial(index.search, query, NUM_ANSWERS))[1]
            for query in torch.split(queries[:_SINGLE_QUERIES], 1)
        ]
        return IndexFigures(
            kind=kind,
            is_exact=index.is_exact,
            recall_at_1=share_found(answers, nearest, k=1),
            recall_at_10=share_found(answers, nearest, k=NUM_ANSWERS),
            queries_per_second=len(queries) / max(seconds, 1e-9),
            milliseconds_per_query=1e3 * sorted(singles)[len(singles) // 2],
            build_seconds=build_seconds,
            num_bytes=self.size_of(index) or 0,
        )

    def _timed(self, work: Callable[[], _Made]) -> tuple[_Made, float]:
        before = self.clock()
        return work(), self.clock() - before


def share_found(answers: Neighbours, nearest: Neighbours, *, k: int) -> float:
    """Share of the k nearest rows that are among the first k answers; ties count as found."""
    farthest = nearest.distances[:, :k].amax(dim=1, keepdim=True)  # (Q, 1)
    return float(is_as_near(answers.distances[:, :k], farthest).double().mean())


def advise(figures: list[IndexFigures]) -> tuple[str, str]:
    """Choose the exact index while it is quick, else the quickest that finds enough; say why."""
    exact = next((one for one in figures if one.is_exact), None)
    if exact is not None and exact.milliseconds_per_query <= QUICK_MILLISECONDS:
        return exact.kind, (
            f"it misses nothing and answers in {exact.milliseconds_per_query:.1f} ms, which "
            "leaves nothing to gain"
        )
    found = [one for one in figures if min(one.recall_at_1, one.recall_at_10) >= WANTED_RECALL]
    if not found:
        best = max(figures, key=lambda one: one.recall_at_10)
        return best.kind, f"none finds {WANTED_RECALL:.0%} of the nearest; it finds the most"
    best = min(found, key=lambda one: one.milliseconds_per_query)
    return best.kind, (
        f"of those that find {WANTED_RECALL:.0%} of the nearest it is the quickest, at "
        f"{best.milliseconds_per_query:.1f} ms per query"
    )
