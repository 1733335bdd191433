from functools import partial
from itertools import count

import pytest
import torch
from torch import Tensor

from reid.application.bench_indexes import BenchIndexes, IndexFigures, advise, share_found
from reid.domain.errors import VectorIndexError
from reid.domain.values.features import Neighbours
from tests.fakes.vector_index import FakeIndex
from tests.vectors import unit_vectors


class UnbuildableIndex(FakeIndex):
    def build(self, gallery: Tensor) -> None:  # noqa: ARG002
        raise VectorIndexError("recall is out of reach")


def bench(**indexes: FakeIndex) -> BenchIndexes:
    ticks = count()
    return BenchIndexes(
        kinds={name: partial(_same, index) for name, index in indexes.items()},
        exact=FakeIndex,
        clock=lambda: float(next(ticks)),
        size_of=lambda index: None if index.is_exact else 77,
        seed=3,
    )


def _same(index: FakeIndex) -> FakeIndex:
    return index


def figures(kind: str, *, recall: float, milliseconds: float) -> IndexFigures:
    return IndexFigures(
        kind=kind,
        is_exact=kind == "exact",
        recall_at_1=1.0,
        recall_at_10=recall,
        queries_per_second=1.0,
        milliseconds_per_query=milliseconds,
        build_seconds=1.0,
        num_bytes=1,
    )


def test_recall_and_size_are_measured_of_each_index() -> None:
    forgetful = FakeIndex(is_exact=False, num_found=4)
    report = bench(exact=FakeIndex(), forgetful=forgetful).run(
        unit_vectors(200), queries=unit_vectors(30, seed=1)
    )
    exact, approximate = report.figures
    assert (exact.recall_at_1, exact.recall_at_10) == (1, 1)
    assert (approximate.recall_at_1, approximate.recall_at_10) == (1, 0.4)
    assert (exact.num_bytes, approximate.num_bytes) == (0, 77)
    assert (report.num_rows, report.width, report.num_queries) == (200, 32, 30)


def test_the_clock_says_how_long_things_take() -> None:
    (exact,) = bench(exact=FakeIndex()).run(unit_vectors(50)).figures
    assert (exact.build_seconds, exact.milliseconds_per_query) == (1, 1000)
    assert exact.queries_per_second == 10


def test_a_fifth_is_held_out_where_no_queries_are_given() -> None:
    index = FakeIndex()
    report = bench(exact=index).run(unit_vectors(100))
    assert (report.num_rows, report.num_queries) == (80, 20)
    assert index.gallery is not None
    left = {tuple(row) for row in index.gallery.tolist()}
    assert left < {tuple(row) for row in unit_vectors(100).tolist()}


def test_an_index_that_cannot_be_built_is_named_and_the_others_measured() -> None:
    report = bench(exact=FakeIndex(), other=UnbuildableIndex()).run(unit_vectors(50))
    assert [one.kind for one in report.figures] == ["exact"]
    assert report.failures == ("other: recall is out of reach",)


def test_nothing_is_said_of_nothing() -> None:
    with pytest.raises(VectorIndexError, match="too few"):
        bench(exact=FakeIndex()).run(unit_vectors(4))
    with pytest.raises(VectorIndexError, match="no index could be measured: other"):
        bench(other=UnbuildableIndex()).run(unit_vectors(50))


def test_equally_near_rows_count_as_found() -> None:
    nearest = Neighbours(indices=torch.tensor([[0, 1]]), distances=torch.tensor([[0.1, 0.2]]))
    tied = Neighbours(indices=torch.tensor([[5, 9]]), distances=torch.tensor([[0.1, 0.2]]))
    missed = Neighbours(indices=torch.tensor([[0, -1]]), distances=torch.tensor([[0.1, torch.inf]]))
    assert share_found(tied, nearest, k=2) == 1
    assert share_found(missed, nearest, k=2) == 0.5


def test_exact_is_chosen_while_it_is_quick() -> None:
    fast = figures("hnsw", recall=0.99, milliseconds=0.1)
    assert advise([figures("exact", recall=1, milliseconds=4), fast])[0] == "exact"
    assert advise([figures("exact", recall=1, milliseconds=40), fast])[0] == "hnsw"


def test_an_index_that_misses_too_much_is_not_chosen_for_its_speed() -> None:
    exact = figures("exact", recall=1, milliseconds=40)
    careless = figures("annoy", recall=0.8, milliseconds=0.1)
    assert advise([exact, careless])[0] == "exact"
    assert advise([careless])[0] == "annoy"
    assert "none finds 95%" in advise([careless])[1]
