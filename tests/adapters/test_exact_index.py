"""What is peculiar to the exact index."""

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from reid.adapters.indexes import exact
from reid.adapters.indexes.exact import ExactIndex
from reid.domain.errors import VectorIndexError
from reid.domain.ranking import distances
from tests.vectors import unit_vectors


def tied_vectors(num_rows: int, *, seed: int) -> Tensor:
    """Draw axes of a small space: cosines are exactly -1, 0 or 1, so most distances are tied."""
    generator = torch.Generator().manual_seed(seed)
    axes = torch.randint(3, (num_rows,), generator=generator)
    signs = torch.randint(2, (num_rows,), generator=generator) * 2 - 1
    return torch.eye(3)[axes] * signs[:, None]


def test_it_is_exact() -> None:
    index = ExactIndex()
    index.build(unit_vectors(5))
    assert index.is_exact
    assert index.recall == 1


@pytest.mark.parametrize("k", [1, 2, 5, 13, 60, 199, 200, 500])
def test_ties_go_by_row_number_even_across_the_last_answer(k: int) -> None:
    gallery, queries = tied_vectors(200, seed=0), tied_vectors(9, seed=1)
    index = ExactIndex()
    index.build(gallery)
    answers = index.search(queries, k)
    expected = 1 - queries.double().numpy() @ gallery.double().numpy().T
    order = np.argsort(expected, axis=1, kind="stable")[:, :k]
    assert np.array_equal(answers.indices.numpy(), order)
    assert np.array_equal(answers.distances.numpy(), np.take_along_axis(expected, order, axis=1))


def test_answers_do_not_depend_on_the_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    gallery, queries = unit_vectors(100), unit_vectors(70, seed=1)
    index = ExactIndex()
    index.build(gallery)
    whole = index.search(queries, 100)
    monkeypatch.setattr(distances, "_COMPARED_ENTRIES", 100)  # blocks of 32, 32 and 6 queries
    blocks = index.search(queries, 100)
    assert torch.equal(whole.indices, blocks.indices)
    assert torch.allclose(whole.distances, blocks.distances, rtol=0, atol=1e-6)


def near_copies(num_rows: int, *, width: int, seed: int) -> Tensor:
    """Draw rows that differ by less than float16 can tell, some of them not at all."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(3, width, generator=generator)[
        torch.randint(3, (num_rows,), generator=generator)
    ]
    noise = torch.randn(num_rows, width, generator=generator)
    size = torch.tensor([0.0, 1e-3, 1.0])[torch.randint(3, (num_rows, 1), generator=generator)]
    return F.normalize(centres + size * noise, dim=1)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("k", [1, 4, 30])
def test_a_single_query_gets_exact_answers_in_spite_of_rounding(
    monkeypatch: pytest.MonkeyPatch, seed: int, k: int
) -> None:
    monkeypatch.setattr(exact, "_SCREENED_ENTRIES", 0)
    monkeypatch.setattr(exact, "_CHECKED_SHARE", 1)
    gallery = near_copies(600, width=48, seed=seed)
    index = ExactIndex()
    index.build(gallery)
    for query in near_copies(8, width=48, seed=seed)[:, None]:
        answers = index.search(query, k)
        expected = 1 - query.double() @ gallery.double().T  # (1, G)
        nearest = expected.sort(dim=1).values[:, :k]
        assert torch.allclose(answers.distances.double(), nearest, rtol=0, atol=1e-6)
        told = expected.gather(1, answers.indices)
        assert torch.allclose(told, nearest, rtol=0, atol=1e-6)


def test_rows_that_rounding_cannot_tell_apart_are_all_compared_exactly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exact, "_SCREENED_ENTRIES", 0)
    gallery = F.normalize(torch.ones(300, 48) + 1e-3 * unit_vectors(300, width=48), dim=1)
    index = ExactIndex()
    index.build(gallery)
    query = gallery[7:8]
    answers = index.search(query, 3)
    expected = (1 - query.double() @ gallery.double().T).sort(dim=1).values[:, :3]
    assert torch.allclose(answers.distances.double(), expected, rtol=0, atol=1e-6)


def test_a_screened_query_leaves_ties_to_the_row_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact, "_SCREENED_ENTRIES", 0)
    monkeypatch.setattr(exact, "_CHECKED_SHARE", 1)
    row = unit_vectors(1, width=37)
    gallery = torch.cat([unit_vectors(150, width=37, seed=1), row.repeat(150, 1)])
    index = ExactIndex()
    index.build(gallery[torch.arange(300).view(2, 150).T.flatten()])  # copies at odd rows
    assert index.search(row, 9).indices.tolist() == [list(range(1, 19, 2))]


def test_a_screen_does_not_outlive_its_gallery(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact, "_SCREENED_ENTRIES", 0)
    monkeypatch.setattr(exact, "_CHECKED_SHARE", 1)
    index = ExactIndex()
    for seed in (0, 1):
        gallery = unit_vectors(50, seed=seed)
        index.build(gallery)
        assert index.search(gallery[31:32], 1).indices.tolist() == [[31]]


@pytest.mark.parametrize("k", [1, 3])
def test_a_screen_without_enough_numbers_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, k: int
) -> None:
    monkeypatch.setattr(exact, "_SCREENED_ENTRIES", 0)
    gallery, path = unit_vectors(300), tmp_path / "index"
    index = ExactIndex()
    index.build(gallery)
    index.save(str(path))
    content = bytearray(path.read_bytes())
    row_bytes = 2 * gallery.shape[1]
    for row in range(20, 20 + k):
        content[row * row_bytes : (row + 1) * row_bytes] = b"\xff" * row_bytes
    path.write_bytes(content)
    index.load(str(path), gallery=gallery)
    expected = (1 - gallery[7:8] @ gallery.T).topk(k, largest=False).indices
    assert torch.equal(index.search(gallery[7:8], k).indices, expected)


@pytest.mark.parametrize("error", [float("nan"), float("inf"), -1.0])
def test_a_screen_rounded_by_what_is_no_number_is_refused(tmp_path: Path, error: float) -> None:
    gallery, path = unit_vectors(300), tmp_path / "index"
    index = ExactIndex()
    index.build(gallery)
    index.save(str(path))
    content = bytearray(path.read_bytes())
    end = 2 * gallery.numel()
    content[end : end + 8] = struct.pack("<d", error)
    path.write_bytes(content)
    with pytest.raises(VectorIndexError, match="rounded by"):
        index.load(str(path), gallery=gallery)


def test_half_precision_queries_are_searched_in_the_gallerys_precision() -> None:
    index = ExactIndex()
    index.build(torch.eye(4))
    answers = index.search(torch.eye(4, dtype=torch.float16), 1)
    assert answers.indices.flatten().tolist() == [0, 1, 2, 3]
    assert answers.distances.dtype == torch.float32


def test_a_query_that_is_not_finite_is_refused() -> None:
    index = ExactIndex()
    index.build(unit_vectors(5))
    queries = unit_vectors(3)
    queries[2, 0] = float("nan")
    with pytest.raises(VectorIndexError, match=r"query row 2 has L2 norm nan instead of 1"):
        index.search(queries, 1)


def test_the_refusal_names_the_row_and_the_remedy() -> None:
    gallery = unit_vectors(5)
    gallery[3] *= 2
    with pytest.raises(VectorIndexError, match=r"gallery row 3 .* normalise embeddings first"):
        ExactIndex().build(gallery)


def test_a_failed_build_keeps_the_old_content() -> None:
    index = ExactIndex()
    index.build(unit_vectors(5))
    with pytest.raises(VectorIndexError):
        index.build(torch.zeros(3, 32))
    assert index.search(unit_vectors(1), 9).indices.shape == (1, 5)


def test_a_gallery_that_is_no_matrix_is_refused() -> None:
    with pytest.raises(VectorIndexError, match=r"must be \(G, D\)"):
        ExactIndex().build(torch.ones(3))


def test_a_kept_index_answers_as_the_one_that_was_built(tmp_path: Path) -> None:
    gallery, queries = unit_vectors(40_000, width=128), unit_vectors(9, width=128, seed=1)
    built, read = ExactIndex(), ExactIndex()
    built.build(gallery)
    built.save(str(tmp_path / "index"))
    read.load(str(tmp_path / "index"), gallery=gallery)
    for asked in (queries[:1], queries):
        expected, found = built.search(asked, 10), read.search(asked, 10)
        assert torch.equal(found.indices, expected.indices)
        assert torch.equal(found.distances, expected.distances)
