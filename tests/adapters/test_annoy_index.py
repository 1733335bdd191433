"""What is peculiar to the Annoy index."""

import tempfile
from pathlib import Path

import pytest
import torch

from reid.adapters.indexes.annoy import AnnoyIndex
from reid.adapters.indexes.approximate import MAXIMUM_PROBES, _Probes
from reid.adapters.indexes.exact import ExactIndex
from reid.domain.errors import VectorIndexError
from reid.domain.values.features import Neighbours
from tests.vectors import share_found, unit_vectors


def test_it_says_that_it_is_approximate() -> None:
    assert not AnnoyIndex().is_exact


@pytest.mark.parametrize("wanted", [0.5, 0.9, 0.99])
def test_it_looks_at_enough_candidates_for_the_wanted_recall(wanted: float) -> None:
    gallery = unit_vectors(MAXIMUM_PROBES)  # every row is a probe: the measure has no error
    index = AnnoyIndex(recall=wanted)
    index.build(gallery)
    assert index.recall >= wanted
    assert index.recall == pytest.approx(share_found(index, gallery), abs=0.002)


def test_a_higher_recall_costs_more_candidates() -> None:
    gallery = unit_vectors(1000)
    modest, thorough = AnnoyIndex(recall=0.5), AnnoyIndex(recall=0.999)
    modest.build(gallery)
    thorough.build(gallery)
    assert thorough.effort > modest.effort


def test_full_recall_is_reached_by_looking_at_every_row() -> None:
    gallery, queries = unit_vectors(400), unit_vectors(20, seed=1)
    index, exact = AnnoyIndex(recall=1), ExactIndex()
    index.build(gallery)
    exact.build(gallery)
    assert index.recall == 1
    found, expected = index.search(queries, 400), exact.search(queries, 400)
    assert torch.equal(found.indices[:, 0], expected.indices[:, 0])
    assert torch.equal(found.indices.sort(dim=1).values, torch.arange(400).repeat(20, 1))
    assert torch.allclose(found.distances, expected.distances, rtol=0, atol=1e-6)


def test_given_trees_and_candidates_are_used_and_their_recall_is_told() -> None:
    gallery = unit_vectors(1000)
    index = AnnoyIndex(recall=0.95, trees=1, search_k=10)
    index.build(gallery)
    assert (index.trees, index.effort) == (1, 10)
    assert index.recall < 0.5
    assert index.recall == pytest.approx(share_found(index, gallery), abs=0.002)


def test_given_trees_leave_the_candidates_to_be_chosen() -> None:
    index = AnnoyIndex(recall=0.9, trees=3)
    index.build(unit_vectors(500))
    assert index.trees == 3
    assert index.recall >= 0.9


def test_given_candidates_that_miss_the_wanted_recall_are_refused() -> None:
    index = AnnoyIndex(recall=0.99, search_k=10)
    with pytest.raises(VectorIndexError, match=r"reaches a recall of 0\.\d+ .* exact index"):
        index.build(unit_vectors(1000))


def test_rows_that_too_few_candidates_leave_out_are_filled() -> None:
    index = AnnoyIndex(trees=1, search_k=1)
    index.build(unit_vectors(500))
    answers = index.search(unit_vectors(4, seed=1), 500)
    assert (answers.indices[:, -1] == -1).all()
    assert answers.distances[:, -1].isinf().all()


def test_chosen_candidates_suffice_for_many_answers() -> None:
    index = AnnoyIndex(recall=0.5)
    index.build(unit_vectors(500))
    assert (index.search(unit_vectors(4, seed=1), 300).indices >= 0).all()


def test_a_gallery_of_copies_is_searched() -> None:
    index = AnnoyIndex()
    index.build(unit_vectors(1).repeat(300, 1))
    assert index.recall == 1
    assert index.search(unit_vectors(1), 3).distances.max() < 1e-6


def test_the_same_rows_make_the_same_forest() -> None:
    gallery, queries = unit_vectors(1000), unit_vectors(50, seed=1)
    answers = []
    for _ in range(2):
        index = AnnoyIndex(trees=3, search_k=50)
        index.build(gallery)
        answers.append(index.search(queries, 10).indices)
    assert torch.equal(answers[0], answers[1])


def test_no_file_is_left_but_the_one_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    index, folder = AnnoyIndex(), tmp_path / "kept"
    for num_rows in (100, 50):
        index.build(unit_vectors(num_rows))
        assert list(tmp_path.iterdir()) == []
        found = index.search(unit_vectors(num_rows), 1).indices.flatten()
        assert torch.equal(found, torch.arange(num_rows))
    folder.mkdir()
    index.save(str(folder / "index"))
    assert [path.name for path in folder.iterdir()] == ["index"]
    assert torch.equal(index.search(unit_vectors(50), 1).indices.flatten(), torch.arange(50))


def test_probes_know_the_nearest_other_row() -> None:
    gallery = unit_vectors(150)
    probes = _Probes.draw(gallery)
    distances = 1 - gallery.double() @ gallery.double().T
    distances.fill_diagonal_(9)
    assert sorted(probes.rows.tolist()) == list(range(150))
    assert torch.allclose(probes.nearest.double(), distances.amin(dim=1)[probes.rows], atol=1e-6)


def test_probes_are_a_sample_of_a_large_gallery() -> None:
    probes = _Probes.draw(unit_vectors(MAXIMUM_PROBES + 500, width=4))
    assert len(probes.rows) == len(set(probes.rows.tolist())) == MAXIMUM_PROBES


def test_a_probe_is_missed_if_only_itself_is_found() -> None:
    probes = _Probes.draw(torch.eye(3))
    answers = Neighbours(
        indices=torch.stack([probes.rows, torch.tensor([-1, (probes.rows[1] + 1) % 3, -1])], dim=1),
        distances=torch.tensor([[0, torch.inf], [0, 1], [0, torch.inf]]),
    )
    assert torch.equal(probes.without_found(answers).rows, probes.rows[[0, 2]])


@pytest.mark.parametrize("where", ["row", "node", "root"])
def test_a_file_with_damaged_links_is_refused(tmp_path: Path, where: str) -> None:
    gallery, path = unit_vectors(300), tmp_path / "index"
    index = AnnoyIndex()
    index.build(gallery)
    index.save(str(path))
    content = bytearray(path.read_bytes())
    node_bytes = 12 + 4 * 32
    place = {"row": 7 * node_bytes, "node": 305 * node_bytes, "root": len(content) - node_bytes}
    start = place[where] + 8
    content[start : start + 4] = (2**30).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(VectorIndexError, match="links are damaged"):
        AnnoyIndex().load(str(path), gallery=gallery)


def test_a_small_forest_keeps_its_trees_in_a_file(tmp_path: Path) -> None:
    gallery = unit_vectors(20)
    index, loaded = AnnoyIndex(trees=7), AnnoyIndex()
    index.build(gallery)
    for _ in range(2):
        index.save(str(tmp_path / "index"))
        loaded.load(str(tmp_path / "index"), gallery=gallery)
        assert loaded.trees == index.trees == 7
