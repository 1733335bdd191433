"""What is peculiar to the exact index."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from reid.adapters.indexes import exact
from reid.adapters.indexes.exact import ExactIndex
from reid.domain.errors import VectorIndexError


def unit_vectors(num_rows: int, *, width: int = 16, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(num_rows, width, generator=generator), dim=1)


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
    monkeypatch.setattr(exact, "_ENTRIES_PER_BLOCK", 100)  # blocks of 32, 32 and 6 queries
    blocks = index.search(queries, 100)
    assert torch.equal(whole.indices, blocks.indices)
    assert torch.allclose(whole.distances, blocks.distances, rtol=0, atol=1e-6)


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
        index.build(torch.zeros(3, 16))
    assert index.search(unit_vectors(1), 9).indices.shape == (1, 5)


def test_a_gallery_that_is_no_matrix_is_refused() -> None:
    with pytest.raises(VectorIndexError, match=r"must be \(G, D\)"):
        ExactIndex().build(torch.ones(3))
