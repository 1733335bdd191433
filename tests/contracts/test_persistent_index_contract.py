"""What every index that can be kept in a file must do.

An adapter is added to the contract by one line in INDEXES.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from torch import Tensor

from reid.adapters.indexes.annoy import AnnoyIndex
from reid.adapters.indexes.exact import ExactIndex
from reid.adapters.indexes.hnsw import HnswIndex
from reid.adapters.indexes.index_files import IndexFacts
from reid.domain.errors import VectorIndexError
from reid.ports.vector_index import PersistentIndex, VectorIndex
from tests.vectors import unit_vectors

INDEXES: dict[str, Callable[[], PersistentIndex]] = {
    "exact": ExactIndex,
    "annoy": AnnoyIndex,
    "annoy-one-tree": lambda: AnnoyIndex(trees=1, search_k=60),
    "hnsw": HnswIndex,
}


@pytest.fixture(params=list(INDEXES.values()), ids=list(INDEXES))
def create(request: pytest.FixtureRequest) -> Callable[[], PersistentIndex]:
    factory: Callable[[], PersistentIndex] = request.param
    return factory


def saved(create: Callable[[], PersistentIndex], gallery: Tensor, path: Path) -> PersistentIndex:
    index = create()
    index.build(gallery)
    index.save(str(path))
    return index


def assert_same_answers(first: VectorIndex, second: VectorIndex, *, width: int = 32) -> None:
    queries = unit_vectors(20, width=width, seed=1)
    for k in (1, 10):
        expected, found = first.search(queries, k), second.search(queries, k)
        assert torch.equal(expected.indices, found.indices)
        assert torch.equal(expected.distances, found.distances)


@pytest.mark.parametrize(("num_rows", "width"), [(1, 32), (2, 32), (15, 32), (800, 32), (60, 1)])
def test_a_loaded_index_answers_as_the_saved_one(
    create: Callable[[], PersistentIndex], tmp_path: Path, num_rows: int, width: int
) -> None:
    gallery = unit_vectors(num_rows, width=width)
    index, loaded = saved(create, gallery, tmp_path / "index"), create()
    loaded.load(str(tmp_path / "index"), gallery=gallery)
    assert_same_answers(index, loaded, width=width)
    assert loaded.recall == index.recall
    assert loaded.is_exact == index.is_exact


def test_one_file_is_written(create: Callable[[], PersistentIndex], tmp_path: Path) -> None:
    saved(create, unit_vectors(300), tmp_path / "index")
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


def test_an_index_is_searched_on_after_saving_and_saved_again_after_loading(
    create: Callable[[], PersistentIndex], tmp_path: Path
) -> None:
    gallery = unit_vectors(300)
    built = create()
    built.build(gallery)
    index = saved(create, gallery, tmp_path / "first")
    assert_same_answers(built, index)
    loaded, again = create(), create()
    loaded.load(str(tmp_path / "first"), gallery=gallery)
    loaded.save(str(tmp_path / "second"))
    again.load(str(tmp_path / "second"), gallery=gallery)
    assert_same_answers(built, loaded)
    assert_same_answers(built, again)
    assert again.recall == built.recall


def test_a_file_may_be_moved_and_go_while_it_is_searched(
    create: Callable[[], PersistentIndex], tmp_path: Path
) -> None:
    gallery = unit_vectors(300)
    index, loaded = saved(create, gallery, tmp_path / "index"), create()
    (tmp_path / "index").rename(tmp_path / "moved")
    loaded.load(str(tmp_path / "moved"), gallery=gallery)
    (tmp_path / "moved").unlink()
    assert_same_answers(index, loaded)


def test_saving_takes_the_place_of_an_earlier_file(
    create: Callable[[], PersistentIndex], tmp_path: Path
) -> None:
    saved(create, unit_vectors(300), tmp_path / "index")
    gallery = unit_vectors(90, seed=5)
    index, loaded = saved(create, gallery, tmp_path / "index"), create()
    loaded.load(str(tmp_path / "index"), gallery=gallery)
    assert_same_answers(index, loaded)


@pytest.mark.parametrize(
    "other", [unit_vectors(299), unit_vectors(300, seed=9), unit_vectors(300, width=31)]
)
def test_a_file_of_other_rows_is_refused(
    create: Callable[[], PersistentIndex], tmp_path: Path, other: Tensor
) -> None:
    saved(create, unit_vectors(300), tmp_path / "index")
    with pytest.raises(VectorIndexError, match=r"build (it|the index) again"):
        create().load(str(tmp_path / "index"), gallery=other)


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.99])
def test_a_file_cut_short_is_refused(
    create: Callable[[], PersistentIndex], tmp_path: Path, kept: float
) -> None:
    gallery = unit_vectors(300)
    saved(create, gallery, tmp_path / "index")
    content = (tmp_path / "index").read_bytes()
    (tmp_path / "index").write_bytes(content[: int(kept * len(content))])
    with pytest.raises(VectorIndexError, match="index cannot be read"):
        create().load(str(tmp_path / "index"), gallery=gallery)


def test_a_file_that_lost_its_last_rows_only_is_refused(
    create: Callable[[], PersistentIndex], tmp_path: Path
) -> None:
    gallery = unit_vectors(300)
    saved(create, gallery, tmp_path / "index")
    content = (tmp_path / "index").read_bytes()
    (tmp_path / "index").write_bytes(content[: -(12 + 4 * 32)])  # a node of Annoy's
    with pytest.raises(VectorIndexError, match="index cannot be read"):
        create().load(str(tmp_path / "index"), gallery=gallery)


@pytest.mark.parametrize(
    "facts",
    [
        {"recall": float("nan")},
        {"recall": "most of them"},
        {"num_rows": "300"},
        {"num_bytes": None},
        {"effort": None},
        {"effort": "many"},
        {"effort": 2**40},
        {"effort": -1},
        {"trees": "many"},
    ],
)
def test_a_file_that_says_what_cannot_be_is_refused(
    create: Callable[[], PersistentIndex],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    facts: dict[str, object],
) -> None:
    gallery, index, path = unit_vectors(300), create(), str(tmp_path / "index")
    index.build(gallery)
    with monkeypatch.context() as patch:
        patch.setattr(IndexFacts, "encode", lambda told: json.dumps(asdict(told) | facts).encode())
        with suppress(VectorIndexError):  # Annoy's writer reads it again
            index.save(path)
    with pytest.raises(VectorIndexError, match="cannot be read"):
        create().load(path, gallery=gallery)


def test_a_file_that_is_none_is_refused(
    create: Callable[[], PersistentIndex], tmp_path: Path
) -> None:
    (tmp_path / "text").write_bytes(b"not an index" * 100)
    for name in ("text", "missing"):
        with pytest.raises(VectorIndexError, match="cannot be read"):
            create().load(str(tmp_path / name), gallery=unit_vectors(300))


def test_an_index_that_cannot_be_read_leaves_the_content_as_it_was(
    create: Callable[[], PersistentIndex], tmp_path: Path
) -> None:
    index, other = create(), create()
    for one in (index, other):
        one.build(unit_vectors(50))
    with pytest.raises(VectorIndexError):
        index.load(str(tmp_path / "missing"), gallery=unit_vectors(300))
    assert_same_answers(index, other)


def test_a_file_that_cannot_be_written_is_said(
    create: Callable[[], PersistentIndex], tmp_path: Path
) -> None:
    index, other = create(), create()
    for one in (index, other):
        one.build(unit_vectors(50))
    with pytest.raises(VectorIndexError, match="cannot be written"):
        index.save(str(tmp_path / "missing" / "index"))
    assert_same_answers(index, other)


def test_what_was_not_built_is_not_saved(
    create: Callable[[], PersistentIndex], tmp_path: Path
) -> None:
    with pytest.raises(VectorIndexError, match="nothing was indexed"):
        create().save(str(tmp_path / "index"))
    assert list(tmp_path.iterdir()) == []
