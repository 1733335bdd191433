import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from reid.domain.ranking import distances as ranking
from reid.domain.ranking.distances import distances, order_keys, rank, split_keys


def random_rows(num_rows: int, *, seed: int, width: int = 24) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num_rows, width, generator=generator)


def test_distances_are_one_minus_the_cosine() -> None:
    queries, gallery = F.normalize(random_rows(5, seed=0)), F.normalize(random_rows(9, seed=1))
    expected = [[1 - float(q.double() @ g.double()) for g in gallery] for q in queries]
    found = distances(queries, gallery)
    assert found.dtype == torch.float32
    assert torch.allclose(found.double(), torch.tensor(expected).double(), rtol=0, atol=1e-6)


def test_distances_stay_within_zero_and_two() -> None:
    rows = F.normalize(random_rows(200, seed=0, width=1280))
    found = distances(torch.cat([rows, -rows]), rows)
    assert float(found.min()) >= 0
    assert float(found.max()) <= 2


@given(
    values=st.lists(
        st.lists(
            st.sampled_from([-1.5, -1.0, -0.0, 0.0, 1e-40, 0.5, 1.0, float("inf")]),
            min_size=40,
            max_size=40,
        ),
        min_size=1,
        max_size=4,
    ),
    k=st.one_of(st.none(), st.integers(1, 50)),
)
@settings(deadline=None)
def test_ranks_are_those_of_a_stable_sort(values: list[list[float]], k: int | None) -> None:
    found = rank(torch.tensor(values, dtype=torch.float32), k=k)
    expected = np.argsort(np.array(values), axis=1, kind="stable")[:, :k]
    assert found.dtype == torch.int64
    assert np.array_equal(found.numpy(), expected)


@pytest.mark.parametrize("k", [1, 5, 20, 300, None])
def test_ranks_do_not_depend_on_the_block_size(
    monkeypatch: pytest.MonkeyPatch, k: int | None
) -> None:
    values = random_rows(7, seed=0, width=300)
    whole = rank(values, k=k)
    monkeypatch.setattr(ranking, "_ENTRIES_PER_BLOCK", 600)
    assert torch.equal(rank(values, k=k), whole)


def test_ranking_leaves_the_distances_as_they_were() -> None:
    values = random_rows(3, seed=0)
    copy = values.clone()
    rank(values)
    rank(values, k=1)
    assert torch.equal(values, copy)


def test_a_distance_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        rank(torch.tensor([[0.0, float("nan")]]))


def test_distances_of_another_kind_are_refused() -> None:
    with pytest.raises(ValueError, match="float32"):
        rank(torch.zeros(2, 2, dtype=torch.float64))
    with pytest.raises(ValueError, match="float32"):
        rank(torch.zeros(2))
    with pytest.raises(ValueError, match="at least 1"):
        rank(torch.zeros(2, 2), k=0)


@given(
    found=st.lists(st.floats(allow_nan=False, width=32), min_size=1, max_size=9),
    rows=st.lists(st.integers(0, 2**31 - 1), min_size=9, max_size=9),
)
def test_an_order_key_gives_back_what_was_packed(found: list[float], rows: list[int]) -> None:
    packed = order_keys(np.array(found, dtype=np.float32), np.array(rows[: len(found)]))
    unpacked = split_keys(packed)
    assert unpacked[0].tolist() == found
    assert unpacked[1].tolist() == rows[: len(found)]


def test_an_order_key_orders_by_distance_and_then_by_row() -> None:
    found = np.array([0.5, -1.0, 0.0, -0.0, 0.5, np.inf], dtype=np.float32)
    keys = order_keys(found, np.array([4, 0, 2, 1, 3, 5]))
    assert np.argsort(keys).tolist() == [1, 3, 2, 4, 0, 5]
