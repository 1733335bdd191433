"""What every vector index must do, the fake included.

An adapter is added to the contract by one line in INDEXES.
"""

from collections.abc import Callable

import pytest
import torch

from reid.adapters.indexes.annoy import AnnoyIndex
from reid.adapters.indexes.exact import ExactIndex
from reid.adapters.indexes.hnsw import HnswIndex
from reid.domain.errors import VectorIndexError
from reid.ports.vector_index import VectorIndex
from tests.fakes.vector_index import FakeIndex
from tests.vectors import unit_vectors

INDEXES: dict[str, Callable[[], VectorIndex]] = {
    "exact": ExactIndex,
    "annoy": AnnoyIndex,
    "hnsw": HnswIndex,
    "hnsw-narrow": lambda: HnswIndex(connectivity=8, expansion=64),
    "annoy-few-candidates": lambda: AnnoyIndex(trees=2, search_k=40),
    "fake": FakeIndex,
    "fake-forgetful": lambda: FakeIndex(is_exact=False, recall=0.9, num_found=4),
}


@pytest.fixture(params=list(INDEXES.values()), ids=list(INDEXES))
def index(request: pytest.FixtureRequest) -> VectorIndex:
    factory: Callable[[], VectorIndex] = request.param
    return factory()


def test_every_gallery_vector_finds_itself_first(index: VectorIndex) -> None:
    gallery = unit_vectors(300)
    index.build(gallery)
    answers = index.search(gallery, 3)
    assert torch.equal(answers.indices[:, 0], torch.arange(300))
    assert torch.allclose(answers.distances[:, 0], torch.zeros(300), atol=1e-6)


@pytest.mark.parametrize("k", [1, 7, 40, 41, 1000])
def test_there_are_as_many_answers_as_asked_for_or_gallery_rows(index: VectorIndex, k: int) -> None:
    index.build(unit_vectors(40))
    answers = index.search(unit_vectors(5, seed=1), k)
    assert answers.indices.shape == (5, min(k, 40))


def test_answers_are_int64_rows_and_float32_distances_on_the_cpu(index: VectorIndex) -> None:
    index.build(unit_vectors(40))
    answers = index.search(unit_vectors(5, seed=1), 10)
    assert answers.indices.dtype == torch.int64
    assert answers.distances.dtype == torch.float32
    assert answers.indices.device == answers.distances.device == torch.device("cpu")


def test_found_rows_are_distinct_and_within_the_gallery(index: VectorIndex) -> None:
    index.build(unit_vectors(200))
    for row in index.search(unit_vectors(20, seed=1), 200).indices:
        found = row[row >= 0]
        assert len(found) > 0
        assert len(found.unique()) == len(found)
        assert int(found.max()) < 200


def test_distances_ascend_and_rows_not_found_stand_last(index: VectorIndex) -> None:
    index.build(unit_vectors(200))
    answers = index.search(unit_vectors(20, seed=1), 150)
    assert (answers.distances[:, 1:] >= answers.distances[:, :-1]).all()
    assert torch.equal(answers.indices == -1, answers.distances.isinf())


def test_distances_are_one_minus_the_cosine(index: VectorIndex) -> None:
    gallery, queries = unit_vectors(100), unit_vectors(10, seed=1)
    index.build(gallery)
    answers = index.search(queries, 100)
    expected = 1 - queries.double() @ gallery.double().T  # (Q, G)
    for query, (rows, found) in enumerate(zip(answers.indices, answers.distances, strict=True)):
        assert torch.allclose(
            found[rows >= 0].double(), expected[query, rows[rows >= 0]], rtol=0, atol=1e-6
        )


def test_equal_rows_are_answered_in_their_order(index: VectorIndex) -> None:
    index.build(torch.eye(4)[[1, 0, 1, 0, 1, 0]])
    answers = index.search(torch.eye(4)[[0]], 4)
    assert answers.indices.tolist() == [[1, 3, 5, 0]]


def test_opposite_vectors_are_two_apart(index: VectorIndex) -> None:
    index.build(torch.tensor([[-1.0, 0.0], [1.0, 0.0]]))
    answers = index.search(torch.tensor([[1.0, 0.0]]), 2)
    assert answers.indices.tolist() == [[1, 0]]
    assert answers.distances.tolist() == [[0.0, 2.0]]


def test_building_again_replaces_the_content(index: VectorIndex) -> None:
    index.build(unit_vectors(50))
    second = unit_vectors(20, width=8, seed=1)
    index.build(second)
    answers = index.search(second, 50)
    assert answers.indices.shape == (20, 20)
    assert torch.equal(answers.indices[:, 0], torch.arange(20))


def test_the_same_search_gives_the_same_answers(index: VectorIndex) -> None:
    gallery, queries = unit_vectors(300), unit_vectors(20, seed=1)
    index.build(gallery)
    first = index.search(queries, 10)
    index.build(gallery)
    second = index.search(queries, 10)
    assert torch.equal(first.indices, second.indices)
    assert torch.equal(first.distances, second.distances)


def test_neither_building_nor_searching_changes_the_vectors(index: VectorIndex) -> None:
    gallery, queries = unit_vectors(50), unit_vectors(5, seed=1)
    index.build(gallery)
    index.search(queries, 3)
    assert torch.equal(gallery, unit_vectors(50))
    assert torch.equal(queries, unit_vectors(5, seed=1))


def test_a_gallery_of_one_row_is_searched(index: VectorIndex) -> None:
    index.build(unit_vectors(1))
    assert index.search(unit_vectors(3, seed=1), 5).indices.tolist() == [[0], [0], [0]]
    assert 0 <= index.recall <= 1


def test_no_query_gives_no_answers(index: VectorIndex) -> None:
    index.build(unit_vectors(10))
    assert index.search(torch.empty(0, 32), 3).indices.shape == (0, 3)


def test_the_recall_is_one_if_exact_and_a_share_otherwise(index: VectorIndex) -> None:
    index.build(unit_vectors(500))
    assert index.recall == 1 if index.is_exact else 0 < index.recall <= 1


def test_an_empty_gallery_is_refused(index: VectorIndex) -> None:
    with pytest.raises(VectorIndexError):
        index.build(torch.empty(0, 32))


@pytest.mark.parametrize("factor", [0.0, 0.9, 2.0, float("nan")])
def test_a_row_that_is_not_of_unit_norm_is_refused(index: VectorIndex, factor: float) -> None:
    gallery = unit_vectors(10)
    gallery[7] *= factor
    with pytest.raises(VectorIndexError):
        index.build(gallery)


@pytest.mark.parametrize("k", [0, -1])
def test_asking_for_no_answers_is_refused(index: VectorIndex, k: int) -> None:
    index.build(unit_vectors(10))
    with pytest.raises(VectorIndexError):
        index.search(unit_vectors(1), k)


def test_queries_of_another_width_are_refused(index: VectorIndex) -> None:
    index.build(unit_vectors(10))
    with pytest.raises(VectorIndexError):
        index.search(unit_vectors(1, width=31), 1)


def test_an_index_that_was_not_built_refuses_to_search(index: VectorIndex) -> None:
    with pytest.raises(VectorIndexError):
        index.search(unit_vectors(1), 1)


def test_an_index_that_was_not_built_knows_no_recall(index: VectorIndex) -> None:
    with pytest.raises(VectorIndexError):
        _ = index.recall
