"""Stage 2 on fakes."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from reid.domain.errors import CheckpointError, ConfigurationError
from reid.domain.events import Event, Stage, StageFinished, StageStarted, StepFinished
from reid.domain.training.schedules import fine_tuning_rate
from reid.domain.values.checkpoints import Checkpoint
from reid.domain.values.samples import ImageSize, Resampling, Split
from tests.fakes.dataset import FakeDataset
from tests.fakes.encoder import FakeEncoder
from tests.fakes.listener import RecordingListener
from tests.fakes.run_store import FakeRunStore
from tests.services.training import (
    FINE_TUNING,
    Laboratory,
    PowerCut,
    PowerFailureError,
    assert_same,
)
from tests.text import text_state


def test_the_encoder_learns(prompts: Checkpoint) -> None:
    laboratory = Laboratory(fine_tuning=replace(FINE_TUNING, epochs=25, milestones=(20,)))
    laboratory.encoder_tuning().run(prompts)
    losses = [epoch.losses["total"] for epoch in laboratory.epochs()]
    assert losses[-1] < 0.8 * losses[0]


def test_the_total_is_the_weighted_sum_of_the_terms(prompts: Checkpoint) -> None:
    recipe = replace(FINE_TUNING, identity_weight=0.5, triplet_weight=2.0, image_to_text_weight=3.0)
    laboratory = Laboratory(fine_tuning=recipe)
    laboratory.encoder_tuning().run(prompts)
    for losses in (epoch.losses for epoch in laboratory.epochs()):
        expected = 0.5 * losses["identity"] + 2.0 * losses["triplet"] + 3.0 * losses["i2tce"]
        assert losses["total"] == pytest.approx(expected, rel=1e-5)


def test_a_loss_of_ones_own_is_a_weighted_term(prompts: Checkpoint) -> None:
    def spread(features: Tensor, labels: Tensor) -> Tensor:
        assert features.shape[0] == len(labels) == FINE_TUNING.batch_size
        return features.std(correction=0)

    paper = Laboratory()
    paper.encoder_tuning().run(prompts)
    laboratory = Laboratory(
        fine_tuning=replace(FINE_TUNING, losses={"spread": -0.5}), losses={"spread": spread}
    )
    laboratory.encoder_tuning().run(prompts)
    for losses in (epoch.losses for epoch in laboratory.epochs()):
        own = 0.25 * losses["identity"] + losses["triplet"] + losses["i2tce"]
        assert losses["total"] == pytest.approx(own - 0.5 * losses["spread"], rel=1e-5)
    assert [set(epoch.losses) for epoch in paper.epochs()] == [
        {"identity", "triplet", "i2tce", "total"}
    ] * FINE_TUNING.epochs
    assert laboratory.epochs()[-1].losses["spread"] > laboratory.epochs()[0].losses["spread"]


def test_the_encoder_is_left_in_evaluation_mode(prompts: Checkpoint) -> None:
    laboratory = Laboratory()
    laboratory.encoder_tuning().run(prompts)
    images = torch.randn(2, 3, 16, 8, generator=torch.Generator().manual_seed(1))
    embedded = laboratory.encoder.encode_images(images).embedding()
    laboratory.encoder.set_training(enabled=False)
    assert torch.equal(embedded, laboratory.encoder.encode_images(images).embedding())


def test_an_interrupted_training_leaves_the_encoder_in_evaluation_mode(prompts: Checkpoint) -> None:
    laboratory = Laboratory(listener=PowerCut(epoch=2))
    with pytest.raises(PowerFailureError):
        laboratory.encoder_tuning().run(prompts)
    images = torch.rand(3, 3, 16, 8, generator=torch.Generator().manual_seed(1))
    together = laboratory.encoder.encode_images(images).embedding()
    alone = laboratory.encoder.encode_images(images[:1]).embedding()
    torch.testing.assert_close(together[:1], alone)


def test_only_the_image_tower_and_the_heads_change(prompts: Checkpoint) -> None:
    laboratory = Laboratory()
    result = laboratory.encoder_tuning().run(prompts)
    fresh = FakeEncoder()
    for name, tensor in text_state(laboratory.encoder).items():
        assert torch.equal(tensor, text_state(fresh)[name]), name
    for name, parameter in fresh.named_parameters():
        assert not torch.equal(result.tensors[name], parameter), name
    assert torch.equal(result.tensors["bottleneck.bias"], torch.zeros(8))
    assert result.tensors["classifier.weight"].shape == (4, 8)
    assert result.tensors["classifier_proj.weight"].shape == (4, 6)


def test_frozen_parameters_stay_and_the_others_learn(prompts: Checkpoint) -> None:
    recipe = replace(FINE_TUNING, frozen=("cells", r"norm\.weight"))
    result = Laboratory(fine_tuning=recipe).encoder_tuning().run(prompts)
    stayed = {
        name
        for name, parameter in FakeEncoder().named_parameters()
        if torch.equal(result.tensors[name], parameter)
    }
    assert stayed == {name for name in stayed if "cells" in name or "norm.weight" in name}
    assert len(stayed) == 3


@pytest.mark.parametrize(
    ("pattern", "words"), [("blocks", "matches no parameter.*cells"), (".", "every parameter")]
)
def test_patterns_that_freeze_nothing_or_everything_are_refused(pattern: str, words: str) -> None:
    laboratory = Laboratory(fine_tuning=replace(FINE_TUNING, frozen=(pattern,)))
    with pytest.raises(ConfigurationError, match=rf"finetuning\.frozen.*{words}"):
        laboratory.encoder_tuning().check_recipe()


def test_a_pattern_that_is_no_regular_expression_is_refused() -> None:
    with pytest.raises(ValueError, match="no regular expression"):
        replace(FINE_TUNING, frozen=("(",))


def test_the_encoder_is_left_trained_and_in_evaluation_mode(prompts: Checkpoint) -> None:
    laboratory = Laboratory()
    result = laboratory.encoder_tuning().run(prompts)
    for name, tensor in laboratory.encoder.state().items():
        assert torch.equal(tensor, result.tensors[name]), name
    images = torch.rand(3, 3, 16, 8)
    together = laboratory.encoder.encode_images(images).embedding()
    alone = laboratory.encoder.encode_images(images[:1]).embedding()
    torch.testing.assert_close(together[:1], alone)


def test_the_result_says_what_it_is(prompts: Checkpoint) -> None:
    header = Laboratory().encoder_tuning().run(prompts).header
    assert header["format"] == "reid-encoder"
    assert header["num_identities"] == 4
    assert header["encoder"] == {
        "name": "fake",
        "weights": "random (seed 0)",
        "is_pretrained": False,
        "options": {"image_size": [16, 8], "num_cameras": 0},
    }


def test_every_epoch_has_its_scheduled_rate(prompts: Checkpoint) -> None:
    laboratory = Laboratory()
    laboratory.encoder_tuning().run(prompts)
    rates = [epoch.learning_rate for epoch in laboratory.epochs()]
    assert rates == [fine_tuning_rate(epoch, FINE_TUNING) for epoch in (1, 2, 3, 4)]


def test_training_images_are_resized_bicubically(prompts: Checkpoint) -> None:
    laboratory = Laboratory()
    laboratory.encoder_tuning().run(prompts)
    assert laboratory.dataset.resamplings == {Resampling.BICUBIC}


def test_all_batch_norms_learn_from_every_batch(prompts: Checkpoint) -> None:
    laboratory = Laboratory()
    result = laboratory.encoder_tuning().run(prompts)
    steps = sum(isinstance(event, StepFinished) for event in laboratory.listener.events)
    counted = {
        name: int(value)
        for name, value in result.tensors.items()
        if name.endswith("num_batches_tracked")
    }
    assert counted == dict.fromkeys(
        (
            "bottleneck.num_batches_tracked",
            "bottleneck_proj.num_batches_tracked",
            "norm.num_batches_tracked",
        ),
        steps,
    )


def test_the_same_seed_gives_the_same_encoder(prompts: Checkpoint) -> None:
    one, other = (Laboratory().encoder_tuning().run(prompts) for _ in range(2))
    assert_same(one, other)


@pytest.mark.parametrize("epoch", [1, 2, 3, 4])
def test_an_interrupted_stage_ends_where_an_uninterrupted_one_does(
    prompts: Checkpoint, epoch: int
) -> None:
    runs = FakeRunStore()
    with pytest.raises(PowerFailureError):
        Laboratory(runs=runs, listener=PowerCut(epoch=epoch)).encoder_tuning().run(prompts)
    resumed = Laboratory(runs=runs)
    result = resumed.encoder_tuning().run(prompts)
    assert resumed.epochs()[0].epoch == epoch
    assert_same(result, Laboratory().encoder_tuning().run(prompts))


def test_a_finished_stage_is_loaded_and_not_run_again(prompts: Checkpoint) -> None:
    first = Laboratory()
    trained = first.encoder_tuning().run(prompts)
    again = Laboratory(runs=first.runs)
    assert_same(again.encoder_tuning().run(prompts), trained)
    assert again.listener.events == [
        StageStarted(Stage.ENCODER, 5, 4),
        StageFinished(Stage.ENCODER),
    ]
    for name, tensor in again.encoder.state().items():
        assert torch.equal(tensor, trained.tensors[name]), name


def test_an_encoder_with_cameras_learns_their_embeddings() -> None:
    laboratory = Laboratory(encoder=FakeEncoder(num_cameras=2))
    before = laboratory.encoder.state()["cameras"].clone()
    result = laboratory.encoder_tuning().run(laboratory.prompt_learning().run())
    assert not torch.equal(result.tensors["cameras"], before)


def test_prompts_of_other_identities_are_refused(prompts: Checkpoint) -> None:
    laboratory = Laboratory(dataset=FakeDataset(identities=5))
    with pytest.raises(CheckpointError, match=r"4 identities.*has 5.*learn prompts"):
        laboratory.encoder_tuning().run(prompts)


def test_prompts_of_other_weights_are_refused(prompts: Checkpoint) -> None:
    laboratory = Laboratory(encoder=FakeEncoder(seed=3))
    with pytest.raises(CheckpointError, match=r"random \(seed 0\).*random \(seed 3\)"):
        laboratory.encoder_tuning().run(prompts)


def test_a_batch_of_more_identities_than_there_are_names_the_setting(prompts: Checkpoint) -> None:
    laboratory = Laboratory(fine_tuning=replace(FINE_TUNING, identities_per_batch=9))
    with pytest.raises(ConfigurationError, match=r"finetuning\.identities_per_batch is 9.*4"):
        laboratory.encoder_tuning().run(prompts)


def test_a_diverged_training_stops_and_keeps_no_encoder(prompts: Checkpoint) -> None:
    laboratory = Laboratory(fine_tuning=replace(FINE_TUNING, learning_rate=1e30))
    with pytest.raises(ConfigurationError, match=r"diverged in epoch \d.*learning_rate"):
        laboratory.encoder_tuning().run(prompts)
    assert laboratory.runs.load("encoder") is None


AVERAGING = replace(FINE_TUNING, ema_decay=0.8)


class Watch(RecordingListener):
    """Keeps the image tower as it is after each step."""

    def __init__(self, encoder: FakeEncoder) -> None:
        super().__init__()
        self._encoder = encoder
        self.towers: list[dict[str, Tensor]] = []

    def __call__(self, event: Event, /) -> None:
        super().__call__(event)
        if isinstance(event, StepFinished):
            state = self._encoder.state()
            self.towers.append({name: tensor.clone() for name, tensor in state.items()})


def test_a_stage_that_averages_ends_with_the_average_of_its_steps(prompts: Checkpoint) -> None:
    encoder = FakeEncoder()
    watch = Watch(encoder)
    averages = {name: tensor.double() for name, tensor in encoder.state().items()}
    laboratory = Laboratory(encoder=encoder, listener=watch, fine_tuning=AVERAGING)
    result = laboratory.encoder_tuning().run(prompts)
    for earlier, tower in enumerate(watch.towers):
        decay = min(0.8, (1 + earlier) / (10 + earlier))
        for name in averages:
            averages[name] = decay * averages[name] + (1 - decay) * tower[name].double()
    averages["norm.num_batches_tracked"] = torch.tensor(float(len(watch.towers))).double()
    for name, tensor in encoder.state().items():
        assert torch.equal(tensor, result.tensors[name]), name
        torch.testing.assert_close(tensor.double(), averages[name], rtol=1e-4, atol=1e-5)


def test_averaging_changes_what_the_stage_ends_with_and_not_how_it_learns(
    prompts: Checkpoint,
) -> None:
    plain, averaging = Laboratory(), Laboratory(fine_tuning=AVERAGING)
    one, other = (each.encoder_tuning().run(prompts) for each in (plain, averaging))
    assert [epoch.losses for epoch in plain.epochs()] == [
        epoch.losses for epoch in averaging.epochs()
    ]
    assert one.tensors.keys() == other.tensors.keys()
    for name in ("cells.weight", "norm.running_mean", "classifier.weight"):
        assert not torch.equal(one.tensors[name], other.tensors[name]), name


@pytest.mark.parametrize("epoch", [1, 2, 3, 4])
def test_an_interrupted_averaging_ends_where_an_uninterrupted_one_does(
    prompts: Checkpoint, epoch: int
) -> None:
    runs = FakeRunStore()
    stopped = Laboratory(runs=runs, listener=PowerCut(epoch=epoch), fine_tuning=AVERAGING)
    with pytest.raises(PowerFailureError):
        stopped.encoder_tuning().run(prompts)
    result = Laboratory(runs=runs, fine_tuning=AVERAGING).encoder_tuning().run(prompts)
    assert_same(result, Laboratory(fine_tuning=AVERAGING).encoder_tuning().run(prompts))


def test_a_state_without_averages_is_not_gone_on_with_where_they_are_wanted(
    prompts: Checkpoint,
) -> None:
    runs = FakeRunStore()
    with pytest.raises(PowerFailureError):
        Laboratory(runs=runs, listener=PowerCut(epoch=2)).encoder_tuning().run(prompts)
    with pytest.raises(CheckpointError, match=r"average\.bottleneck\.bias is missing there"):
        Laboratory(runs=runs, fine_tuning=AVERAGING).encoder_tuning().run(prompts)


ACROSS_CAMERAS = replace(FINE_TUNING, sampling="cameras")


class Readings(FakeDataset):
    """Keeps the names of every batch that is read."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[list[str]] = []

    def read(self, names: Sequence[str], *, size: ImageSize, resampling: Resampling) -> Tensor:
        self.batches.append(list(names))
        return super().read(names, size=size, resampling=resampling)


def cameras_of_pairs(batches: list[list[str]]) -> set[int]:
    """How many cameras stand in the two images of an identity."""
    camera = {sample.name: sample.camid for sample in FakeDataset().samples(Split.TRAIN)}
    return {
        len({camera[image] for image in batch[at : at + 2]})
        for batch in batches
        for at in range(0, len(batch), 2)
    }


def test_batches_across_cameras_show_each_identity_from_all_sides(prompts: Checkpoint) -> None:
    plain, spread = Readings(), Readings()
    Laboratory(dataset=plain).encoder_tuning().run(prompts)
    Laboratory(dataset=spread, fine_tuning=ACROSS_CAMERAS).encoder_tuning().run(prompts)
    assert cameras_of_pairs(plain.batches) == {1, 2}
    assert cameras_of_pairs(spread.batches) == {2}


def test_an_interrupted_stage_across_cameras_ends_where_an_uninterrupted_one_does(
    prompts: Checkpoint,
) -> None:
    runs = FakeRunStore()
    stopped = Laboratory(runs=runs, listener=PowerCut(epoch=3), fine_tuning=ACROSS_CAMERAS)
    with pytest.raises(PowerFailureError):
        stopped.encoder_tuning().run(prompts)
    result = Laboratory(runs=runs, fine_tuning=ACROSS_CAMERAS).encoder_tuning().run(prompts)
    assert_same(result, Laboratory(fine_tuning=ACROSS_CAMERAS).encoder_tuning().run(prompts))


def test_patches_change_what_is_learned_and_an_interruption_does_not(prompts: Checkpoint) -> None:
    recipe = replace(FINE_TUNING, random_patch_probability=0.5)
    runs = FakeRunStore()
    with pytest.raises(PowerFailureError):
        Laboratory(runs=runs, listener=PowerCut(epoch=3), fine_tuning=recipe).encoder_tuning().run(
            prompts
        )
    result = Laboratory(runs=runs, fine_tuning=recipe).encoder_tuning().run(prompts)
    assert_same(result, Laboratory(fine_tuning=recipe).encoder_tuning().run(prompts))
    plain = Laboratory().encoder_tuning().run(prompts)
    assert not torch.equal(result.tensors["cells.weight"], plain.tensors["cells.weight"])
