"""What is peculiar to the HNSW index."""

from dataclasses import dataclass
from pathlib import Path

import faiss
import pytest
import torch
from torch.nn import functional as F

from reid.adapters.indexes.approximate import MAXIMUM_PROBES
from reid.adapters.indexes.exact import ExactIndex
from reid.adapters.indexes.hnsw import HnswIndex
from reid.domain.errors import VectorIndexError
from tests.vectors import share_found, unit_vectors


@pytest.mark.parametrize("wanted", [0.5, 0.9, 0.99])
def test_it_keeps_enough_rows_in_view_for_the_wanted_recall(wanted: float) -> None:
    gallery = unit_vectors(MAXIMUM_PROBES)  # every row is a probe: the measure has no error
    index = HnswIndex(recall=wanted)
    index.build(gallery)
    assert index.recall >= wanted
    assert index.recall == pytest.approx(share_found(index, gallery), abs=0.002)


def test_a_higher_recall_costs_a_wider_view() -> None:
    gallery = unit_vectors(3000, width=64)
    modest, thorough = HnswIndex(recall=0.5), HnswIndex(recall=0.995)
    modest.build(gallery)
    thorough.build(gallery)
    assert thorough.effort > modest.effort


def test_a_given_expansion_is_used_whatever_the_recall_is(tmp_path: Path) -> None:
    gallery = unit_vectors(3000, width=64)
    index = HnswIndex(recall=1, connectivity=2, expansion=2)
    index.build(gallery)
    assert index.recall < 1
    assert index.effort == 2
    index.save(str(tmp_path / "index"))
    wider = HnswIndex(expansion=50)
    wider.load(str(tmp_path / "index"), gallery=gallery)
    assert wider.effort == 50


def test_a_recall_out_of_reach_is_refused() -> None:
    copies = unit_vectors(40, width=64).repeat_interleave(60, dim=0)
    spread = torch.cat([copies, unit_vectors(2000, width=64, seed=1)])
    with pytest.raises(VectorIndexError, match=r"reaches a recall of 0\.\d+ .* connectivity"):
        HnswIndex(recall=1, connectivity=2).build(spread)


def test_distances_are_those_of_the_exact_index_though_the_graph_rounds() -> None:
    gallery, queries = unit_vectors(400), unit_vectors(20, seed=1)
    index, exact = HnswIndex(expansion=400), ExactIndex()
    index.build(gallery)
    exact.build(gallery)
    found, expected = index.search(queries, 10), exact.search(queries, 10)
    assert torch.equal(found.indices, expected.indices)
    assert torch.allclose(found.distances, expected.distances, rtol=0, atol=3e-7)


def test_rows_that_float16_cannot_tell_apart_are_ordered_by_their_own_values() -> None:
    query = F.normalize(torch.ones(1, 8), dim=1)
    step = torch.zeros(8).scatter_(0, torch.tensor([0]), 1.0)
    rows = [F.normalize(query + size * 1e-4 * step, dim=1) for size in (3, 1, 2)]
    gallery = torch.cat([*rows, unit_vectors(50, width=8)])
    index = HnswIndex()
    index.build(gallery)
    exact = 1 - (gallery.double() @ query[0].double())
    answers = index.search(query, 3)
    assert set(answers.indices[0].tolist()) == set(exact.topk(3, largest=False).indices.tolist())
    assert (answers.distances[0, 1:] >= answers.distances[0, :-1]).all()


def test_the_number_of_cores_changes_no_answer() -> None:
    gallery, queries = unit_vectors(1500, width=64), unit_vectors(50, width=64, seed=1)
    cores = faiss.omp_get_max_threads()
    answers = []
    try:
        for threads in (1, 2, 4):
            faiss.omp_set_num_threads(threads)
            index = HnswIndex(connectivity=4, expansion=4)
            index.build(gallery)
            answers.append(index.search(queries, 10).indices)
    finally:
        faiss.omp_set_num_threads(cores)
    assert torch.equal(answers[0], answers[1])
    assert torch.equal(answers[0], answers[2])


def test_a_gallery_of_copies_is_searched() -> None:
    index = HnswIndex()
    index.build(unit_vectors(1).repeat(300, 1))
    assert index.recall == 1
    assert index.search(unit_vectors(1), 3).distances.max() < 1e-6


NUM_ROWS = 300


@dataclass(frozen=True)
class Saved:
    """The file of an index over `unit_vectors(NUM_ROWS)`, and where its parts begin."""

    path: Path
    levels: int
    offsets: int
    links: int
    entry: int
    first_above: int
    """The first link of a layer above the lowest."""

    only_low: int
    """A row that has the lowest layer alone."""

    def write(self, place: int, value: int, *, size: int = 4) -> None:
        content = bytearray(self.path.read_bytes())
        content[place : place + size] = value.to_bytes(size, "little", signed=True)
        self.path.write_bytes(content)


@pytest.fixture
def saved(tmp_path: Path) -> Saved:
    index = HnswIndex()
    index.build(unit_vectors(NUM_ROWS))
    index.save(str(tmp_path / "index"))
    content = (tmp_path / "index").read_bytes()
    hnsw = index._require_built().structure.graph.hnsw
    levels, offsets = faiss.vector_to_array(hnsw.levels), faiss.vector_to_array(hnsw.offsets)
    all_links = faiss.rev_swig_ptr(hnsw.neighbors.data(), hnsw.neighbors.size()).tobytes()
    links = content.index(all_links)
    high, low = levels.tolist().index(2), levels.tolist().index(1)
    return Saved(
        path=tmp_path / "index",
        levels=content.index(levels.tobytes()),
        offsets=content.index(offsets.tobytes()),
        links=links,
        entry=links + len(all_links),
        first_above=links + 4 * (int(offsets[high]) + 64),
        only_low=low,
    )


@pytest.mark.parametrize(
    ("part", "beyond", "value"),
    [
        ("levels", 0, 0),
        ("levels", 0, 100),
        ("levels", 0, 2),
        ("offsets", 8, 2**30),
        ("links", 0, NUM_ROWS),
        ("links", 0, -2),
        ("entry", 0, NUM_ROWS),
        ("entry", 0, -1),
        ("entry", 4, 5),
        ("entry", 4, 0),
    ],
)
def test_a_graph_that_would_be_searched_beyond_its_ends_is_refused(
    saved: Saved, part: str, beyond: int, value: int
) -> None:
    saved.write(getattr(saved, part) + beyond, value)
    with pytest.raises(VectorIndexError, match="cannot be read as an index"):
        HnswIndex().load(str(saved.path), gallery=unit_vectors(NUM_ROWS))


def test_a_link_to_a_row_that_has_not_its_layer_is_refused(saved: Saved) -> None:
    saved.write(saved.first_above, saved.only_low)
    with pytest.raises(VectorIndexError, match="has not its layer"):
        HnswIndex().load(str(saved.path), gallery=unit_vectors(NUM_ROWS))


def test_a_file_of_another_kind_of_faiss_is_refused(saved: Saved) -> None:
    content = saved.path.read_bytes()
    saved.path.write_bytes(b"IxFI" + content[4:])
    with pytest.raises(VectorIndexError, match="not that of a graph"):
        HnswIndex().load(str(saved.path), gallery=unit_vectors(NUM_ROWS))


def test_a_loaded_index_copies_neither_links_nor_vectors(saved: Saved) -> None:
    loaded = HnswIndex()
    loaded.load(str(saved.path), gallery=unit_vectors(NUM_ROWS))
    graph = loaded._require_built().structure.graph
    assert not graph.hnsw.neighbors.is_owned
    assert not faiss.downcast_index(graph.storage).codes.is_owned


def test_a_file_of_annoy_is_no_hnsw_index(tmp_path: Path) -> None:
    from reid.adapters.indexes.annoy import AnnoyIndex

    gallery = unit_vectors(100)
    other = AnnoyIndex()
    other.build(gallery)
    other.save(str(tmp_path / "index"))
    with pytest.raises(VectorIndexError, match="cannot be read"):
        HnswIndex().load(str(tmp_path / "index"), gallery=gallery)
