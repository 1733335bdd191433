"""Re-ranking against the method spelt out densely, one image at a time, in float64."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from reid.domain.ranking import reranking
from reid.domain.ranking.reranking import reranked_distances
from reid.domain.values.recipes import RerankingRecipe
from tests.vectors import rerank


def clustered_rows(num_rows: int, *, seed: int, width: int = 16, num_clusters: int = 8) -> Tensor:
    """Draw unit rows around a few centres, so that neighbourhoods are worth comparing."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(num_clusters, width, generator=generator)
    members = torch.randint(num_clusters, (num_rows,), generator=generator)
    noise = torch.randn(num_rows, width, generator=generator)
    return F.normalize(centres[members] + 0.7 * noise, dim=1)


def reciprocal_set(order: np.ndarray, row: int, k: int) -> set[int]:
    """R(row, k): those among the k + 1 nearest of `row` that have `row` among theirs."""
    return {int(near) for near in order[row, : k + 1] if row in order[near, : k + 1]}


def encode_naively(values: np.ndarray, order: np.ndarray, k1: int) -> np.ndarray:
    encoding = np.zeros_like(values)
    for row in range(len(values)):
        members = reciprocal_set(order, row, k1)
        expanded = set(members)
        for candidate in members:
            brought = reciprocal_set(order, candidate, round(k1 / 2))
            if len(brought & members) > 2 / 3 * len(brought):
                expanded |= brought
        chosen = sorted(expanded)
        weights = np.exp(-values[row, chosen])
        encoding[row, chosen] = weights / weights.sum()
    return encoding


def rerank_naively(queries: Tensor, gallery: Tensor, recipe: RerankingRecipe) -> np.ndarray:
    """Re-rank with full float64 matrices, straight from the description of the method."""
    images = torch.cat([queries, gallery]).double().numpy()
    squared = ((images[:, None] - images[None]) ** 2).sum(axis=2)
    np.fill_diagonal(squared, 0)
    values = (squared / squared.max(axis=0)).T
    order = np.argsort(values - 2 * np.eye(len(values)), axis=1, kind="stable")
    encoding = encode_naively(values, order, recipe.k1)
    expanded = np.stack([encoding[rows[: recipe.k2]].mean(axis=0) for rows in order])
    count = len(queries)
    jaccard = np.empty((count, len(gallery)))
    for query in range(count):
        minima = np.minimum(expanded[query], expanded[count:]).sum(axis=1)
        jaccard[query] = 1 - minima / np.maximum(expanded[query], expanded[count:]).sum(axis=1)
    share = recipe.original_weight
    found: np.ndarray = (1 - share) * jaccard + share * values[:count, count:]
    return found


RECIPES = [
    RerankingRecipe(),
    RerankingRecipe(k1=50, k2=15),
    RerankingRecipe(k1=1, k2=1),
    RerankingRecipe(k1=5, k2=1, original_weight=0.0),
    RerankingRecipe(k1=7, k2=3, original_weight=1.0),
    RerankingRecipe(k1=9, k2=9, original_weight=0.5),
]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: f"{recipe.k1}-{recipe.k2}")
def test_distances_equal_the_method_spelt_out(recipe: RerankingRecipe) -> None:
    rows = clustered_rows(140, seed=0)
    found = rerank(rows[:30], rows[30:], recipe)
    assert found.dtype == torch.float32
    assert found.shape == (30, 110)
    expected = rerank_naively(rows[:30], rows[30:], recipe)
    assert np.allclose(found.numpy(), expected, rtol=0, atol=1e-5)


@given(
    seed=st.integers(0, 2**31),
    num_queries=st.integers(1, 6),
    num_gallery=st.integers(1, 30),
    k1=st.integers(1, 40),
    share=st.floats(0, 1),
)
@settings(deadline=None, max_examples=40, derandomize=True)  # no near ties that rounding decides
def test_neighbourhoods_larger_than_the_images_at_hand_are_cut(
    seed: int, num_queries: int, num_gallery: int, k1: int, share: float
) -> None:
    recipe = RerankingRecipe(k1=k1, k2=1 + k1 // 3, original_weight=share)
    rows = clustered_rows(num_queries + num_gallery, seed=seed, num_clusters=4)
    expected = rerank_naively(rows[:num_queries], rows[num_queries:], recipe)
    found = rerank(rows[:num_queries], rows[num_queries:], recipe)
    assert np.allclose(found.numpy(), expected, rtol=0, atol=1e-5)


def test_blocks_of_queries_follow_each_other_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = clustered_rows(120, seed=1)
    whole = rerank(rows[:25], rows[25:], RerankingRecipe())
    monkeypatch.setattr(reranking, "_ENTRIES_PER_BLOCK", 700)
    blocks = list(reranked_distances(rows[:25], rows[25:], recipe=RerankingRecipe()))
    assert [len(block) for block in blocks] == [7, 7, 7, 4]
    assert torch.allclose(torch.cat(blocks), whole, rtol=0, atol=1e-6)


def test_distances_stay_within_zero_and_one() -> None:
    rows = clustered_rows(200, seed=2)
    found = rerank(rows[:50], rows[50:], RerankingRecipe())
    assert float(found.min()) >= 0
    assert float(found.max()) <= 1 + 1e-6


def test_lambda_of_one_leaves_the_order_as_it_was() -> None:
    rows = clustered_rows(60, seed=3)
    found = rerank(rows[:9], rows[9:], RerankingRecipe(original_weight=1.0))
    original = 1 - rows[:9] @ rows[9:].T
    assert torch.equal(found.argmin(dim=1), original.argmin(dim=1))
    ratio = found / original
    assert torch.allclose(ratio, ratio[:, :1].expand_as(ratio), rtol=1e-3)


def test_a_shared_neighbourhood_brings_images_nearer_than_a_mere_distance() -> None:
    # A chain of views leads from the query's angle to an image of the same person, while a
    # unknown person in a crowd of his own stands a little nearer to the query.
    degrees = torch.tensor([0.0, 5, 10, 15, 20, 25, -22, -24, -26, -28, -30, -32])
    angles = torch.deg2rad(degrees)
    rows = torch.stack([angles.cos(), angles.sin()], dim=1)
    original = 1 - rows[:1] @ rows[1:].T
    same, non_mated = 4, 5  # gallery rows at 25 and -22 degrees
    assert original[0, non_mated] < original[0, same]
    found = rerank(rows[:1], rows[1:], RerankingRecipe(k1=5, k2=2))
    assert found[0, same] < found[0, non_mated]


def test_more_copies_of_an_image_than_neighbours_divide_nothing_by_zero() -> None:
    rows = F.normalize(torch.ones(1, 8), dim=1).repeat(40, 1)
    found = rerank(rows[:3], rows[3:], RerankingRecipe(k1=5, k2=1))
    assert found.isfinite().all()
    assert float(found.min()) >= 0
    assert float(found.max()) <= 1


def test_no_query_gives_no_distances() -> None:
    rows = clustered_rows(20, seed=0)
    assert rerank(rows[:0], rows, RerankingRecipe()).shape == (0, 20)


def test_the_vectors_stay_as_they_were() -> None:
    rows = clustered_rows(50, seed=4)
    copy = rows.clone()
    rerank(rows[:10], rows[10:], RerankingRecipe())
    assert torch.equal(rows, copy)


def test_the_same_vectors_give_the_same_distances() -> None:
    rows = clustered_rows(80, seed=5)
    first = rerank(rows[:10], rows[10:], RerankingRecipe())
    assert torch.equal(first, rerank(rows[:10], rows[10:], RerankingRecipe()))
