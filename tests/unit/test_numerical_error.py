"""How far features are from features, against plain loops."""

import math

import pytest
import torch
from torch import Tensor

from reid.domain.numerical_error import NumericalError, measure_error, probe_images
from reid.domain.values.encoders import EncoderGeometry
from reid.domain.values.samples import ImageSize

GEOMETRY = EncoderGeometry(
    image_size=ImageSize(48, 32),
    pixel_mean=(0.5, 0.5, 0.5),
    pixel_std=(0.5, 0.5, 0.5),
    penultimate_width=1,
    final_width=1,
    projected_width=1,
)


def noise(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def naive(reference: Tensor, candidate: Tensor, mean: Tensor) -> NumericalError:
    angles: list[float] = []
    differences: list[float] = []
    for wanted, got in zip(reference.tolist(), candidate.tolist(), strict=True):
        a = [value - centre for value, centre in zip(wanted, mean.tolist(), strict=True)]
        b = [value - centre for value, centre in zip(got, mean.tolist(), strict=True)]
        dot = math.fsum(x * y for x, y in zip(a, b, strict=True))
        angles.append(1 - dot / (math.hypot(*a) * math.hypot(*b)))
        differences.extend(abs(x - y) for x, y in zip(wanted, got, strict=True))
    return NumericalError(max(angles), max(differences) / reference.abs().max().item())


def test_both_measures_are_those_of_a_plain_loop() -> None:
    reference = noise(5, 7) + 3
    candidate = reference + 0.1 * noise(5, 7, seed=2)
    mean = reference.mean(dim=0)
    found, expected = (
        measure_error(reference, candidate, mean=mean),
        naive(reference, candidate, mean),
    )
    assert found.angle == pytest.approx(expected.angle, rel=1e-6)
    assert found.relative == pytest.approx(expected.relative, rel=1e-6)


def test_features_do_not_deviate_from_themselves() -> None:
    features = noise(4, 6)
    found = measure_error(features, features, mean=features.mean(dim=0))
    assert found.angle == pytest.approx(0, abs=1e-15)
    assert found.relative == 0


def test_what_all_images_share_hides_no_error() -> None:
    spread, error = noise(4, 6), 0.1 * noise(4, 6, seed=2)
    angles = [
        measure_error(features, features + error, mean=features.mean(dim=0)).angle
        for features in (spread, spread + 1000)
    ]
    assert angles[0] == pytest.approx(angles[1], rel=1e-2)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_deviates_infinitely(value: float) -> None:
    features = noise(4, 6)
    candidate = features.clone()
    candidate[2, 3] = value
    found = measure_error(features, candidate, mean=features.mean(dim=0))
    assert found == NumericalError(math.inf, math.inf)


def test_probes_depend_on_their_generator_alone() -> None:
    first, second, other = (
        probe_images(GEOMETRY, 3, generator=torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2)
    )
    assert first.shape == (3, 3, 48, 32)
    assert first.dtype == torch.float32
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_neighbouring_pixels_of_a_probe_are_alike() -> None:
    (probe,) = probe_images(GEOMETRY, 1, generator=torch.Generator().manual_seed(1))
    steps = (probe[:, 1:] - probe[:, :-1]).abs().mean()
    assert steps < 0.5 * (probe[:, 24:] - probe[:, :24]).abs().mean()
