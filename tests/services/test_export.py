"""The export use case on fakes."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from reid.application.export import BATCH_SIZES, MAX_DEVIATION, Export
from reid.domain.errors import EncoderError
from tests.fakes.encoder import FakeEncoder
from tests.fakes.export_place import FakeExportPlace


def rounded(features: Tensor) -> Tensor:
    return features.bfloat16().float()


def turned(features: Tensor) -> Tensor:
    return features.flip(1)


def test_an_equal_encoder_is_kept_with_what_was_compared() -> None:
    encoder, place = FakeEncoder(), FakeExportPlace()
    outcome = Export(encoder=encoder, seed=3).run(place)
    assert outcome.encoder == encoder.description
    assert tuple(outcome.deviations) == BATCH_SIZES
    assert place.kept is not None
    assert place.kept["seed"] == 3
    assert place.kept["max_error"] == MAX_DEVIATION["fp32"]


def test_rounding_is_admitted_in_bfloat16_but_not_in_float32() -> None:
    export = Export(encoder=FakeEncoder(), seed=3)
    kept = FakeExportPlace(precision="bf16", skew=rounded)
    outcome = export.run(kept)
    assert kept.kept is not None
    assert 0 < outcome.deviations[1].angle <= MAX_DEVIATION["bf16"]
    refused = FakeExportPlace(precision="fp32", skew=rounded)
    with pytest.raises(EncoderError, match="larger deviation"):
        export.run(refused)
    assert refused.kept is None


def test_the_users_own_limit_is_the_limit() -> None:
    export = Export(encoder=FakeEncoder(), seed=3)
    with pytest.raises(EncoderError, match=r"more than 1\.0e-09"):
        export.run(FakeExportPlace(precision="bf16", skew=rounded), max_error=1e-9)
    place = FakeExportPlace(skew=turned)
    export.run(place, max_error=2.0)
    assert place.kept is not None


def lost(features: Tensor) -> Tensor:
    return features * torch.nan


@pytest.mark.parametrize("skew", [turned, lost])
def test_a_deviating_encoder_is_refused_and_discarded(skew: Callable[[Tensor], Tensor]) -> None:
    place = FakeExportPlace(skew=skew)
    with pytest.raises(EncoderError, match="nothing was kept"):
        Export(encoder=FakeEncoder(), seed=3).run(place)
    assert place.kept is None


def test_an_error_in_single_images_only_is_found() -> None:
    def wrong_alone(features: Tensor) -> Tensor:
        return turned(features) if len(features) == 1 else features

    with pytest.raises(EncoderError, match="batches of 1,"):
        Export(encoder=FakeEncoder(), seed=3).run(FakeExportPlace(skew=wrong_alone))


def test_cameras_are_compared_too() -> None:
    export = Export(encoder=FakeEncoder(num_cameras=3), seed=3)
    export.run(FakeExportPlace())
    with pytest.raises(EncoderError, match="deviates"):
        export.run(FakeExportPlace(is_blind=True))
