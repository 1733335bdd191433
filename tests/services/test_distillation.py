"""Stage 2 with a teacher, on fakes."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from reid.domain.values.checkpoints import Checkpoint
from reid.domain.values.features import ImageFeatures
from reid.domain.values.samples import Split
from tests.fakes.encoder import FakeEncoder
from tests.fakes.run_store import FakeRunStore
from tests.services.training import (
    FINE_TUNING,
    Laboratory,
    PowerCut,
    PowerFailureError,
    assert_same,
)

ALONE = replace(
    FINE_TUNING,
    identity_weight=0.0,
    triplet_weight=0.0,
    image_to_text_weight=0.0,
    distillation_weight=2.0,
    neighbour_distillation_weight=0.5,
)


def teacher() -> FakeEncoder:
    return FakeEncoder(seed=99)


def test_the_encoder_comes_nearer_to_its_teacher() -> None:
    recipe = replace(ALONE, epochs=30, milestones=(25,), learning_rate=0.02)
    laboratory = Laboratory(fine_tuning=recipe, teacher=teacher())
    laboratory.encoder_tuning().run(None)
    losses = [epoch.losses for epoch in laboratory.epochs()]
    assert losses[-1]["teacher"] < 0.5 * losses[0]["teacher"]
    for found in losses:
        expected = 2.0 * found["teacher"] + 0.5 * found["neighbours"]
        assert found["total"] == pytest.approx(expected, rel=1e-5)


def test_the_teacher_describes_the_images_once_per_run() -> None:
    class Counted(FakeEncoder):
        num_images = 0

        def encode_images(self, images: Tensor, camids: Tensor | None = None) -> ImageFeatures:
            self.num_images += len(images)
            return super().encode_images(images, camids)

    first, second, runs = Counted(seed=99), Counted(seed=99), FakeRunStore()
    cut = Laboratory(fine_tuning=ALONE, teacher=first, runs=runs, listener=PowerCut(epoch=2))
    with pytest.raises(PowerFailureError):
        cut.encoder_tuning().run(None)
    resumed = Laboratory(fine_tuning=ALONE, teacher=second, runs=runs)
    assert first.num_images == len(resumed.dataset.samples(Split.TRAIN))
    finished = resumed.encoder_tuning().run(None)
    assert second.num_images == 0
    whole = Laboratory(fine_tuning=ALONE, teacher=teacher())
    assert_same(finished, whole.encoder_tuning().run(None))


def test_another_teacher_describes_them_again() -> None:
    runs = FakeRunStore()
    kept = Checkpoint(tensors={"descriptors": torch.zeros(3, 2)}, header={"encoder": "other"})
    runs.save("teacher", kept)
    laboratory = Laboratory(fine_tuning=ALONE, teacher=teacher(), runs=runs)
    laboratory.encoder_tuning().run(None)
    found = runs.load("teacher")
    assert found is not None
    width = teacher().geometry.embedding_width
    assert found.tensors["descriptors"].shape == (
        len(laboratory.dataset.samples(Split.TRAIN)), width
    )  # fmt: skip


def test_without_a_teacher_nothing_is_distilled(prompts: Checkpoint) -> None:
    laboratory = Laboratory()
    trained = laboratory.encoder_tuning().run(prompts)
    assert "teacher_map.weight" not in trained.tensors
    assert all("teacher" not in epoch.losses for epoch in laboratory.epochs())
