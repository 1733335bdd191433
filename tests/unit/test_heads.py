import pytest
import torch
from torch import Tensor

from reid.domain.seeding import generator_for
from reid.domain.training.heads import ReidHeads
from reid.domain.values.features import ImageFeatures


def build(seed: int = 0) -> ReidHeads:
    return ReidHeads(
        final_width=6, projected_width=4, num_identities=5, generator=generator_for(seed)
    )


def draw_features(num_images: int = 8) -> ImageFeatures:
    generator = generator_for(1)
    return ImageFeatures(
        penultimate=torch.randn(num_images, 3, generator=generator),
        final=5 + 2 * torch.randn(num_images, 6, generator=generator),
        projected=torch.randn(num_images, 4, generator=generator),
    )


def standardised(features: Tensor) -> Tensor:
    wide = features.double()
    variance = (wide - wide.mean(dim=0)).square().mean(dim=0)
    return (wide - wide.mean(dim=0)) / (variance + 1e-5).sqrt()


def test_scores_are_products_with_standardised_features() -> None:
    heads, features = build(), draw_features()
    scores = heads(features)
    final = standardised(features.final) @ heads.classifier.weight.double().T
    projected = standardised(features.projected) @ heads.classifier_proj.weight.double().T
    torch.testing.assert_close(scores.final.double(), final, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(scores.projected.double(), projected, rtol=1e-4, atol=1e-7)


def test_evaluation_uses_running_statistics_of_single_images_too() -> None:
    heads, features = build().eval(), draw_features(1)
    scores = heads(features)
    scale = (1 + 1e-5) ** -0.5  # fresh running statistics: mean 0, variance 1
    torch.testing.assert_close(scores.final, scale * features.final @ heads.classifier.weight.T)


def test_the_state_is_named_as_in_the_released_checkpoints() -> None:
    statistics = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    assert set(build().state_dict()) == {
        "classifier.weight",
        "classifier_proj.weight",
        *(f"bottleneck.{name}" for name in statistics),
        *(f"bottleneck_proj.{name}" for name in statistics),
    }


def test_bnneck_starts_as_the_identity_and_its_bias_stays() -> None:
    heads = build()
    for neck in (heads.bottleneck, heads.bottleneck_proj):
        assert torch.equal(neck.weight, torch.ones_like(neck.weight))
        assert torch.equal(neck.bias, torch.zeros_like(neck.bias))
        assert neck.weight.requires_grad
        assert not neck.bias.requires_grad


def test_classifiers_start_near_zero() -> None:
    heads = ReidHeads(
        final_width=200, projected_width=100, num_identities=50, generator=generator_for(0)
    )
    for classifier in (heads.classifier, heads.classifier_proj):
        assert classifier.bias is None
        assert classifier.weight.mean().item() == pytest.approx(0.0, abs=1e-4)
        assert classifier.weight.std().item() == pytest.approx(0.001, rel=0.05)


def test_the_generator_alone_decides_the_start() -> None:
    before = torch.get_rng_state()
    first, same, other = build(1), build(1), build(2)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.classifier.weight, same.classifier.weight)
    assert torch.equal(first.classifier_proj.weight, same.classifier_proj.weight)
    assert not torch.equal(first.classifier.weight, other.classifier.weight)


def test_gradients_reach_both_features_and_not_the_penultimate_one() -> None:
    features = draw_features()
    for part in (features.penultimate, features.final, features.projected):
        part.requires_grad_()
    scores = build()(features)
    (scores.final.square().sum() + scores.projected.square().sum()).backward()
    assert features.penultimate.grad is None
    for part in (features.final, features.projected):
        assert part.grad is not None
        assert part.grad.abs().sum() > 0


def test_a_single_identity_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 identities, got 1"):
        ReidHeads(final_width=2, projected_width=2, num_identities=1, generator=generator_for(0))
