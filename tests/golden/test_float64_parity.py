"""Stage 2's gradients of ResNets against the truth, which float64 has on every processor.

`plain_resnet` is written from the method's description and imports nothing of `reid`; `rounding`
tells how far float32 may lie from it, and how that was measured.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from reid.adapters.encoders.tower_encoder import TowerEncoder
from reid.domain.services.freezing import freeze_text
from reid.domain.training.heads import ReidHeads
from reid.domain.training.objectives import fine_tuning_objective
from tests.golden.loading import GoldenCase, build_golden_encoder, load_golden
from tests.golden.plain_resnet import Parameters
from tests.golden.rounding import (
    CRITICAL,
    Rounding,
    load_rounding,
    perturbed_norms,
    plain_parameters,
    root_mean_square,
    true_norms,
)
from tests.golden.test_training_parity import KEY_BIAS, NOISE, RN, build_heads

SAME = 1e-8
"""Relative; float64 rounds at 1e-16, and no ReLU input of these images lies that near to zero."""

POSITIONS = "image_encoder.attnpool.positional_embedding"


@dataclass(frozen=True)
class Exact:
    """A case and the gradient norms that our code gives in float64."""

    case: GoldenCase
    positions: Tensor
    """As our encoder stretches them, in float32."""

    plain: Parameters
    norms: dict[str, float]


@pytest.fixture(scope="module", params=["rn_tiny", "rn50"])
def exact(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exact:
    return compute(load_golden(request.param), tmp_path_factory.mktemp("weights"))


def compute(case: GoldenCase, folder: Path) -> Exact:
    encoder = build_golden_encoder(case, folder)
    heads = build_heads(encoder, case)
    freeze_text(encoder)
    parameters = dict(encoder.named_parameters())
    positions = parameters[POSITIONS].detach().clone()
    plain = plain_parameters(case)
    encoder.image_tower.double()
    with torch.no_grad():
        # Everything else is the file's own float32; these were computed, and rounded to it.
        parameters[POSITIONS].copy_(plain[POSITIONS])
    return Exact(
        case=case,
        positions=positions,
        plain=plain,
        norms=norms_in_float64(encoder, heads.double(), case),
    )


def norms_in_float64(encoder: TowerEncoder, heads: ReidHeads, case: GoldenCase) -> dict[str, float]:
    encoder.set_training(enabled=True)
    heads.train()
    # Encoders promise float32 features, whatever type they compute in.
    with pytest.MonkeyPatch.context() as random_patches:
        random_patches.setattr(Tensor, "float", lambda values: values)
        features = encoder.encode_images(case.images().double())
    objective = fine_tuning_objective(
        features,
        heads(features),
        labels=case.labels,
        text_features=case.tensor("text_features").double(),
        recipe=RN,
    )
    named = [*heads.named_parameters(), *encoder.named_parameters()]
    trained = {name: parameter for name, parameter in named if parameter.requires_grad}
    gradients = torch.autograd.grad(objective.total, list(trained.values()))
    assert {gradient.dtype for gradient in gradients} == {torch.float64}
    return {name: gradient.norm().item() for name, gradient in zip(trained, gradients, strict=True)}


@pytest.fixture(scope="module")
def rounding() -> Rounding:
    return load_rounding("rn50")


def assert_same(got: dict[str, float], truth: dict[str, float]) -> None:
    """Compare norms, but for the one that is nothing but rounding."""
    assert max(got[KEY_BIAS], truth[KEY_BIAS]) < NOISE
    assert got | {KEY_BIAS: 0} == pytest.approx(truth | {KEY_BIAS: 0}, rel=SAME, abs=0)


def test_positions_are_stretched_as_the_plain_implementation_does(exact: Exact) -> None:
    torch.testing.assert_close(
        exact.positions.double(), exact.plain[POSITIONS], rtol=1e-6, atol=1e-8
    )


def test_our_gradient_norms_in_float64_are_the_true_ones(exact: Exact, rounding: Rounding) -> None:
    truth = rounding.truth() if exact.case.name == "rn50" else true_norms(exact.case)
    assert_same(exact.norms, truth)


def test_the_official_gradient_norms_lie_within_rounding_of_the_truth(rounding: Rounding) -> None:
    arrays = load_golden("rn50").arrays
    golden = dict(zip(arrays["s2_grad_names"].tolist(), arrays["s2_grad_norms"], strict=True))
    assert rounding.outside(golden, but=KEY_BIAS) == {}


def test_each_measured_run_lies_within_the_bound_that_the_others_give(rounding: Rounding) -> None:
    others = ~np.eye(len(rounding.deviations), dtype=bool)
    for number, deviation in enumerate(rounding.deviations):
        bound = CRITICAL * root_mean_square(rounding.deviations[others[number]])
        outside = np.array(rounding.names)[abs(deviation) > bound]
        assert set(outside.tolist()) <= {KEY_BIAS}


@pytest.mark.slow
def test_the_record_holds_what_the_plain_implementation_gives(rounding: Rounding) -> None:
    case = load_golden("rn50")
    truth = true_norms(case)
    assert_same(rounding.truth(), truth)
    moved = perturbed_norms(case, seed=0)
    recorded = dict(zip(rounding.names, rounding.norms * (1 + rounding.deviations[0]), strict=True))
    assert_same(recorded, moved)
