"""The mathematics of explanations against plain float64 loops."""

from itertools import product

import pytest
import torch
from torch import Tensor

from reid.domain.explanation import (
    mask_pixels,
    roll_out,
    roll_out_gradients,
    score_pair,
    spread_over_pixels,
    weigh_map,
)
from reid.domain.values.explanations import Cells


def noise(*shape: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def attention_of(*, blocks: int = 3, heads: int = 2, tokens: int = 5) -> list[Tensor]:
    return [noise(2, heads, tokens, tokens, seed=seed).softmax(dim=3) for seed in range(blocks)]


def product_of(left: list[list[float]], right: list[list[float]]) -> list[list[float]]:
    size = range(len(left))
    return [[sum(left[i][m] * right[m][j] for m in size) for j in size] for i in size]


def head_means(block: Tensor) -> list[list[float]]:
    heads, size = block.shape[:2]
    return [
        [sum(float(block[h, i, j]) for h in range(heads)) / heads for j in range(size)]
        for i in range(size)
    ]


def test_roll_out_multiplies_half_attention_and_half_identity() -> None:
    attention = attention_of()
    found = roll_out(attention)
    for image in range(2):
        size = range(5)
        reached = [[float(i == j) for j in size] for i in size]
        for block in attention:
            means = head_means(block[image])
            step = [[0.5 * means[i][j] + 0.5 * (i == j) for j in size] for i in size]
            reached = product_of(step, reached)
        assert found[image].tolist() == pytest.approx(reached[0][1:])


def test_roll_out_hands_the_class_token_a_share_of_one() -> None:
    found = roll_out(attention_of())
    assert (found > 0).all()
    assert (found.sum(dim=1) < 1).all()


def test_gradients_count_where_attention_adds_to_the_score() -> None:
    attention = attention_of()
    gradients = [noise(*block.shape, seed=9 + n) for n, block in enumerate(attention)]
    found = roll_out_gradients(attention, gradients)
    for image in range(2):
        size = range(5)
        relevance = [[float(i == j) for j in size] for i in size]
        for block, gradient in zip(attention, gradients, strict=True):
            adding = head_means((block[image] * gradient[image]).relu())
            gained = product_of(adding, relevance)
            relevance = [[relevance[i][j] + gained[i][j] for j in size] for i in size]
        assert found[image].tolist() == pytest.approx(relevance[0][1:])


def test_attention_that_only_takes_from_the_score_marks_nothing() -> None:
    attention = attention_of()
    gradients = [-torch.ones_like(block) for block in attention]
    assert not roll_out_gradients(attention, gradients).any()


def test_channels_of_a_map_count_by_their_mean_gradient() -> None:
    maps, gradients = noise(2, 3, 4, 2), noise(2, 3, 4, 2, seed=2)
    found = weigh_map(maps, gradients)
    for b, row, column in product(range(2), range(4), range(2)):
        total = sum(
            float(gradients[b, c].mean()) * float(maps[b, c, row, column]) for c in range(3)
        )
        assert float(found[b, 2 * row + column]) == pytest.approx(max(total, 0.0))


def test_a_pair_is_scored_by_its_cosine_and_the_cosines_gradient() -> None:
    pair = noise(2, 6).requires_grad_()
    score = score_pair(pair)
    expected = torch.nn.functional.cosine_similarity(pair[0], pair[1], dim=0)
    assert score.item() == pytest.approx(expected.item())
    torch.testing.assert_close(
        torch.autograd.grad(score, pair), torch.autograd.grad(expected, pair)
    )


def test_equal_images_still_have_a_gradient_to_explain_with() -> None:
    pair = noise(1, 6).repeat(2, 1).requires_grad_()
    score = score_pair(pair)
    assert score.item() == pytest.approx(1.0)
    (gradient,) = torch.autograd.grad(score, pair)
    torch.testing.assert_close(gradient, pair.detach() / pair.detach().square().sum(dim=1)[:, None])


def test_touching_cells_spread_as_torch_interpolates() -> None:
    weights = noise(2, 6)
    cells = Cells(rows=3, columns=2, stride=4, extent=4)
    expected = torch.nn.functional.interpolate(
        weights.view(2, 1, 3, 2), size=(12, 8), mode="bilinear", align_corners=False
    )
    found = spread_over_pixels(weights, cells=cells, height=12, width=8)
    torch.testing.assert_close(found, expected[:, 0])


def test_overlapping_cells_keep_their_weight_at_their_centre() -> None:
    cells = Cells(rows=2, columns=2, stride=3, extent=5)
    weights = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    found = spread_over_pixels(weights, cells=cells, height=8, width=9)[0]
    assert [float(found[y, x]) for y in (2, 5) for x in (2, 5)] == [1.0, 2.0, 3.0, 4.0]
    assert float(found[3, 2]) == pytest.approx(1 + 2 / 3)


def test_pixels_that_no_cell_sees_have_no_weight() -> None:
    cells = Cells(rows=2, columns=2, stride=3, extent=5)
    found = spread_over_pixels(torch.ones(1, 4), cells=cells, height=8, width=10)[0]
    assert (found[:, :8] == 1).all()
    assert (found[:, 8:] == 0).all()


def test_the_pixels_of_the_largest_weights_become_the_mean_colour() -> None:
    images = torch.ones(2, 3, 2, 5)
    weights = torch.arange(20.0).view(2, 2, 5)
    masked = mask_pixels(images, weights, share=0.3)
    assert [int((image == 0).sum()) for image in masked] == [9, 9]
    assert (masked[:, :, 1, 2:] == 0).all()
    assert (images == 1).all()


def test_of_equal_weights_the_first_pixels_are_masked() -> None:
    masked = mask_pixels(torch.ones(1, 3, 1, 4), torch.zeros(1, 1, 4), share=0.5)
    assert masked[0, 0, 0].tolist() == [0, 0, 1, 1]
