"""t-SNE against its own definition."""

import numpy as np
import pytest
from numpy.typing import NDArray

from reid.domain.maps import (
    divergence,
    joint_affinities,
    lay_out,
    principal_components,
    squared_distances,
)


def drawn(count: int, width: int, *, seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).standard_normal((count, width))


def test_squared_distances_are_those_of_a_plain_loop() -> None:
    vectors = drawn(9, 4)
    found = squared_distances(vectors)
    for i in range(9):
        for j in range(9):
            assert found[i, j] == pytest.approx(((vectors[i] - vectors[j]) ** 2).sum(), abs=1e-12)


def conditional(others: NDArray[np.float64], *, perplexity: float) -> NDArray[np.float64]:
    """Find the Gaussian of a row by a plain search."""
    low, high = 0.0, 1e3
    for _ in range(100):
        middle = (low + high) / 2
        weights = np.exp((others.min() - others) * middle)
        shares: NDArray[np.float64] = weights / weights.sum()
        is_wide = np.exp(-(shares * np.log(shares + 1e-300)).sum()) > perplexity
        low, high = (middle, high) if is_wide else (low, middle)
    return shares


@pytest.mark.parametrize("perplexity", [3.0, 7.0])
def test_every_vector_minds_as_many_neighbours_as_the_perplexity_says(perplexity: float) -> None:
    squared = squared_distances(drawn(30, 6))
    joint = joint_affinities(squared, perplexity=perplexity)
    assert joint.sum() == pytest.approx(1.0)
    assert not joint.diagonal().any()
    rows = np.stack(
        [
            np.insert(conditional(np.delete(squared[n], n), perplexity=perplexity), n, 0.0)
            for n in range(30)
        ]
    )
    np.testing.assert_allclose(joint, (rows + rows.T) / 60, atol=1e-9)


def test_the_gradient_is_that_of_the_divergence() -> None:
    affinities = joint_affinities(squared_distances(drawn(10, 5)), perplexity=3.0)
    places = drawn(10, 2, seed=1)
    _, gradient = divergence(affinities, places)
    for row in range(10):
        for column in range(2):
            step = np.zeros_like(places)
            step[row, column] = 1e-6
            after, _ = divergence(affinities, places + step)
            before, _ = divergence(affinities, places - step)
            assert gradient[row, column] == pytest.approx((after - before) / 2e-6, abs=1e-7)


def test_principal_components_lie_along_the_largest_spread() -> None:
    vectors = drawn(50, 2) * [3.0, 0.5]
    found = principal_components(np.column_stack([vectors[:, 1], vectors[:, 0], np.zeros(50)]))
    assert found[:, 0].std() == pytest.approx(1.0)
    assert abs(np.corrcoef(found[:, 0], vectors[:, 0])[0, 1]) > 0.99
    assert (found[np.abs(found).argmax(axis=0), [0, 1]] > 0).all()


def test_groups_that_are_apart_stay_apart_and_neighbours_together() -> None:
    centres = 8 * drawn(4, 16, seed=3)
    groups = np.repeat(np.arange(4), 15)
    places = lay_out(centres[groups] + drawn(60, 16), perplexity=10, num_steps=300)
    assert places.shape == (60, 2)
    assert places.mean(axis=0) == pytest.approx([0.0, 0.0], abs=1e-9)
    nearest = (squared_distances(places) + np.diag(np.full(60, np.inf))).argmin(axis=1)
    assert (groups[nearest] == groups).all()


def test_a_map_comes_out_the_same_again() -> None:
    vectors = drawn(20, 8)
    assert np.array_equal(lay_out(vectors, num_steps=50), lay_out(vectors, num_steps=50))


def test_equal_vectors_make_a_map_of_finite_numbers() -> None:
    assert np.isfinite(lay_out(np.ones((8, 3)), num_steps=20)).all()


def test_too_few_vectors_make_no_map() -> None:
    with pytest.raises(ValueError, match="at least 8 vectors, got 7"):
        lay_out(drawn(7, 3))
