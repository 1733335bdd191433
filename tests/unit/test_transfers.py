"""No step of a training waits for its device.

A meta device stands for an accelerator: it has no memory that the processor could look into, so
whatever tries to read a number from it fails.
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from reid.adapters.encoders.clip import create_clip_encoder
from reid.domain.memory import to_device
from reid.domain.training.augmentation import augment
from reid.domain.training.ema import ExponentialMovingAverage
from reid.domain.training.heads import IdentityScores
from reid.domain.training.objectives import fine_tuning_objective, prompt_objective
from reid.domain.training.prompts import PromptLearner
from reid.domain.values.encoders import EncoderRequest
from reid.domain.values.features import ImageFeatures
from reid.domain.values.recipes import FineTuningRecipe
from reid.domain.values.samples import ImageSize

ELSEWHERE = torch.device("meta")
SMALL = ImageSize(48, 32)


def there(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(shape, dtype=dtype, device=ELSEWHERE)


def test_reading_a_number_from_the_device_would_be_noticed() -> None:
    with pytest.raises(RuntimeError, match="meta"):
        there(2).sum().item()


def test_a_tensor_that_lies_there_already_is_not_copied() -> None:
    tensor = torch.arange(3)
    assert to_device(tensor.device, tensor) is tensor
    assert to_device(ELSEWHERE, tensor).device == ELSEWHERE


def test_images_vary_where_they_lie() -> None:
    pixels = augment(
        there(4, 3, 48, 32, dtype=torch.uint8),
        FineTuningRecipe(erasing_probability=1.0, random_patch_probability=1.0),
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        generator=torch.Generator().manual_seed(1),
    )
    assert pixels.device == ELSEWHERE


def test_weights_are_averaged_where_they_lie() -> None:
    weights = {"weight": there(3, 2), "num_batches_tracked": there(dtype=torch.int64)}
    average = ExponentialMovingAverage(weights, decay=0.9)
    average.update(weights)
    assert average.averages()["weight"].device == ELSEWHERE


def test_the_objective_of_stage_2_is_left_on_the_device() -> None:
    objective = fine_tuning_objective(
        ImageFeatures(there(4, 8), there(4, 8), there(4, 6)),
        IdentityScores(there(4, 3), there(4, 3)),
        labels=there(4, dtype=torch.int64),
        text_features=there(3, 6),
        recipe=FineTuningRecipe(),
    )
    assert objective.total.device == ELSEWHERE


def test_the_objective_of_stage_1_is_left_on_the_device() -> None:
    objective = prompt_objective(there(4, 6), there(4, 6), labels=there(4, dtype=torch.int64))
    assert objective.total.device == ELSEWHERE


@pytest.mark.parametrize("kind", ["vit-tiny", "rn-tiny"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_both_towers_run_without_looking(kind: str, precision: str) -> None:
    encoder = create_clip_encoder(EncoderRequest(kind=kind, image_size=SMALL, precision=precision))
    text = encoder.text
    assert text is not None
    embedding = text.embed_template("A photo of a {} person.", num_context_tokens=4)
    prompts = PromptLearner(
        embedding,
        num_identities=3,
        num_context_tokens=4,
        generator=torch.Generator().manual_seed(1),
    )(torch.tensor([0, 2]))
    towers: list[tuple[torch.nn.Module, Callable[[torch.nn.Module], Tensor]]] = [
        (encoder.image_tower, lambda tower: tower(there(4, 3, 48, 32), None).projected),
        (
            text.tower,
            lambda tower: tower(prompts.detach().to(ELSEWHERE), embedding.prefix.to(ELSEWHERE)),
        ),
    ]
    for tower, describe in towers:
        tower.train().to(ELSEWHERE)
        features = describe(tower)
        torch.autograd.backward(features.sum())
        assert features.device == ELSEWHERE
