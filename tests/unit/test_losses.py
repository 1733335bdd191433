import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from reid.domain.training.losses import (
    batch_hard_triplet_loss,
    descriptor_distillation_loss,
    hardest_distances,
    identity_loss,
    image_to_text_loss,
    similarity_distillation_loss,
    supervised_contrastive_loss,
)

SEEDS = st.integers(0, 10_000)


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def draw_labels(seed: int, size: int, num_identities: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(num_identities, (size,), generator=generator)
    labels[:2] = torch.tensor([0, 1])  # at least two identities
    return labels


def dot(x: list[float], y: list[float]) -> float:
    return sum(a * b for a, b in zip(x, y, strict=True))


def log_softmax_by_loops(scores: list[float]) -> list[float]:
    largest = max(scores)
    total = math.log(sum(math.exp(score - largest) for score in scores)) + largest
    return [score - total for score in scores]


def contrastive_by_loops(anchors: Tensor, others: Tensor, labels: Tensor) -> float:
    total = 0.0
    for anchor, label in zip(anchors.tolist(), labels.tolist(), strict=True):
        logs = log_softmax_by_loops([dot(anchor, other) for other in others.tolist()])
        positives = [
            log for log, other in zip(logs, labels.tolist(), strict=True) if other == label
        ]
        total -= sum(positives) / len(positives)
    return total / len(anchors)


def smoothed_by_loops(scores: Tensor, labels: Tensor, smoothing: float) -> float:
    total = 0.0
    for row, label in zip(scores.tolist(), labels.tolist(), strict=True):
        for identity, log in enumerate(log_softmax_by_loops(row)):
            target = smoothing / len(row) + (1 - smoothing if identity == label else 0.0)
            total -= target * log
    return total / len(scores)


def triplet_by_loops(features: Tensor, labels: Tensor, margin: float) -> float:
    rows = list(zip(features.tolist(), labels.tolist(), strict=True))
    total = 0.0
    for anchor, label in rows:
        positive = max(max(math.dist(anchor, x), 1e-6) for x, other in rows if other == label)
        negative = min(max(math.dist(anchor, x), 1e-6) for x, other in rows if other != label)
        total += max(0.0, positive - negative + margin)
    return total / len(rows)


@settings(deadline=None)
@given(seed=SEEDS, size=st.integers(2, 9))
def test_the_contrastive_loss_equals_its_definition(seed: int, size: int) -> None:
    anchors, others = draw(seed, size, 5), draw(seed + 1, size, 5)
    labels = draw_labels(seed, size)
    loss = supervised_contrastive_loss(anchors, others, labels).item()
    assert loss == pytest.approx(contrastive_by_loops(anchors, others, labels), rel=1e-10)


@settings(deadline=None)
@given(seed=SEEDS, size=st.integers(2, 9), smoothing=st.sampled_from([0.0, 0.1, 0.5]))
def test_the_identity_loss_equals_its_definition(seed: int, size: int, smoothing: float) -> None:
    scores, labels = draw(seed, size, 4), draw_labels(seed, size)
    loss = identity_loss(scores, labels, smoothing=smoothing).item()
    assert loss == pytest.approx(smoothed_by_loops(scores, labels, smoothing), rel=1e-10)


@settings(deadline=None)
@given(seed=SEEDS, size=st.integers(2, 9), margin=st.sampled_from([0.0, 0.3, 2.0]))
def test_the_triplet_loss_equals_its_definition(seed: int, size: int, margin: float) -> None:
    features, labels = draw(seed, size, 5), draw_labels(seed, size)
    loss = batch_hard_triplet_loss(features, labels, margin=margin).item()
    expected = triplet_by_loops(features, labels, margin)
    assert loss == pytest.approx(expected, rel=1e-10, abs=1e-10)


def test_image_to_text_scores_are_plain_scalar_products() -> None:
    projected, text = draw(1, 6, 5), draw(2, 4, 5)
    labels = draw_labels(3, 6)
    scores = torch.tensor([[dot(x, t) for t in text.tolist()] for x in projected.tolist()]).double()
    expected = smoothed_by_loops(scores, labels, 0.1)
    assert image_to_text_loss(projected, text, labels).item() == pytest.approx(expected, rel=1e-6)
    unsmoothed = image_to_text_loss(projected, text, labels, smoothing=0.0).item()
    assert unsmoothed == pytest.approx(smoothed_by_loops(scores, labels, 0.0), rel=1e-6)


def contrastive(features: Tensor, labels: Tensor) -> Tensor:
    return supervised_contrastive_loss(features, features.flip(1), labels)


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "contrastive": contrastive,
    "identity": identity_loss,
    "triplet": batch_hard_triplet_loss,
}


@pytest.fixture(params=list(LOSSES.values()), ids=list(LOSSES))
def loss(request: pytest.FixtureRequest) -> Callable[[Tensor, Tensor], Tensor]:
    chosen: Callable[[Tensor, Tensor], Tensor] = request.param
    return chosen


def test_the_order_of_the_batch_does_not_matter(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    features, labels = draw(1, 8, 4), draw_labels(1, 8)
    for seed in range(5):
        order = torch.randperm(8, generator=torch.Generator().manual_seed(seed))
        torch.testing.assert_close(loss(features[order], labels[order]), loss(features, labels))


@settings(deadline=None)
@given(seed=SEEDS)
def test_other_names_for_the_identities_change_nothing(seed: int) -> None:
    features, labels = draw(seed, 8, 4), draw_labels(seed, 8)
    renamed = torch.tensor([30, 7, 0, 11])[labels]
    for measure in (contrastive, batch_hard_triplet_loss):
        assert torch.equal(measure(features, renamed), measure(features, labels))


@settings(deadline=None)
@given(seed=SEEDS)
def test_distances_do_not_care_where_the_origin_lies(seed: int) -> None:
    features, labels = draw(seed, 8, 4), draw_labels(seed, 8)
    moved = batch_hard_triplet_loss(features + 10.0, labels)
    torch.testing.assert_close(moved, batch_hard_triplet_loss(features, labels))


@settings(deadline=None)
@given(seed=SEEDS)
def test_distances_grow_with_the_features(seed: int) -> None:
    features, labels = draw(seed, 8, 4), draw_labels(seed, 8)
    for one, three in zip(
        hardest_distances(features, labels), hardest_distances(3 * features, labels), strict=True
    ):
        far = one > 1e-5  # an anchor alone has the floor of 1e-6 at every scale
        torch.testing.assert_close(three[far], 3 * one[far])


def test_gradients_agree_with_finite_differences(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    features, labels = draw(4, 6, 4).requires_grad_(), draw_labels(4, 6)
    assert torch.autograd.gradcheck(lambda x: loss(x, labels), (features,))


def test_both_sides_of_the_contrastive_loss_receive_gradients() -> None:
    anchors, others = draw(1, 6, 4).requires_grad_(), draw(2, 6, 4).requires_grad_()
    labels = draw_labels(1, 6)
    assert torch.autograd.gradcheck(
        lambda a, b: supervised_contrastive_loss(a, b, labels), (anchors, others)
    )


def test_the_contrastive_loss_stands_large_similarities() -> None:
    features = (100 * draw(1, 6, 4)).float().requires_grad_()
    value = contrastive(features, draw_labels(1, 6))
    value.backward()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
    assert value.isfinite()
    assert features.grad is not None
    assert features.grad.isfinite().all()


def test_images_drawn_twice_keep_the_triplet_gradient_finite() -> None:
    once = 24.0 * draw(1, 2, 64).float()
    features = once.repeat_interleave(4, dim=0).requires_grad_()
    labels = torch.tensor([0] * 4 + [1] * 4)
    positive, negative = hardest_distances(features, labels)
    (positive - negative).sum().backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(positive, torch.full((8,), 1e-6))
    assert features.grad is not None
    assert features.grad.isfinite().all()
    assert features.grad.abs().max() < 10.0


def test_a_whole_batch_of_equal_images_costs_the_margin() -> None:
    features = torch.ones(4, 8, requires_grad=True)
    value = batch_hard_triplet_loss(features, torch.tensor([0, 0, 1, 1]), margin=0.3)
    value.backward()  # type: ignore[no-untyped-call]
    assert value.item() == pytest.approx(0.3)
    assert features.grad is not None
    assert torch.equal(features.grad, torch.zeros(4, 8))


def test_well_separated_identities_cost_nothing() -> None:
    features = torch.tensor([[0.0], [0.1], [9.0], [9.1]])
    assert batch_hard_triplet_loss(features, torch.tensor([3, 3, 5, 5])).item() == 0.0


def test_a_batch_of_one_identity_is_refused_with_its_size() -> None:
    with pytest.raises(ValueError, match="all 3 images"):
        batch_hard_triplet_loss(torch.randn(3, 4), torch.tensor([2, 2, 2]))


def test_the_triplet_gradient_is_the_same_in_every_run() -> None:
    features = draw(1, 64, 2048).float().requires_grad_()
    labels = torch.arange(16).repeat_interleave(4)
    gradients = [
        torch.autograd.grad(batch_hard_triplet_loss(features, labels), features)[0]
        for _ in range(10)
    ]
    assert all(torch.equal(gradient, gradients[0]) for gradient in gradients)


def test_certain_and_right_answers_cost_nothing_without_smoothing() -> None:
    scores = 100.0 * F.one_hot(torch.tensor([2, 0]), 3).float()
    assert identity_loss(scores, torch.tensor([2, 0]), smoothing=0.0).item() == 0.0
    assert identity_loss(scores, torch.tensor([2, 0])).item() > 1.0


def test_distilled_descriptors_are_compared_by_angle() -> None:
    targets = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    assert descriptor_distillation_loss(3 * targets, targets) == pytest.approx(0, abs=1e-6)
    assert descriptor_distillation_loss(-targets, targets) == pytest.approx(2)
    assert descriptor_distillation_loss(targets.flip(0), targets) == pytest.approx(1)


def test_distilled_neighbours_follow_the_definition() -> None:
    generator = torch.Generator().manual_seed(4)
    student = torch.randn(5, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    targets = torch.randn(5, 7, generator=generator, dtype=torch.float64)

    def shares(vectors: Tensor, row: int) -> Tensor:
        others = [other for other in range(5) if other != row]
        cosines = [F.cosine_similarity(vectors[row], vectors[o], dim=0) / 0.2 for o in others]
        return torch.stack(cosines).softmax(dim=0)

    wanted = torch.stack(
        [
            (shares(targets, row) * (shares(targets, row) / shares(student, row)).log()).sum()
            for row in range(5)
        ]
    ).mean()
    loss = similarity_distillation_loss(student, targets, temperature=0.2)
    torch.testing.assert_close(loss, wanted)
    assert similarity_distillation_loss(targets, 2 * targets) == pytest.approx(0, abs=1e-9)
    assert torch.autograd.gradcheck(
        lambda vectors: similarity_distillation_loss(vectors, targets, temperature=0.2), student
    )
