"""What becomes of a training whose numbers, memory or last checkpoint break."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from reid.domain.errors import CheckpointError, ConfigurationError
from reid.domain.events import CheckpointDamaged, StepFinished
from reid.domain.memory import is_out_of_memory
from reid.domain.values.checkpoints import Checkpoint, JsonValue
from reid.domain.values.features import ImageFeatures
from tests.fakes.encoder import FakeEncoder
from tests.services.training import Laboratory, PowerCut, PowerFailureError


class BreakingEncoder(FakeEncoder):
    """Does something else instead of encoding the images of one training step."""

    def __init__(self, *, breaks_at: int, how: Callable[[ImageFeatures], ImageFeatures]) -> None:
        super().__init__()
        self._breaks_at = breaks_at
        self._how = how
        self._num_batches = 0
        self._is_training = False

    def set_training(self, *, enabled: bool) -> None:
        super().set_training(enabled=enabled)
        self._is_training = enabled

    def encode_images(self, images: Tensor, camids: Tensor | None = None) -> ImageFeatures:
        features = super().encode_images(images, camids)
        self._num_batches += self._is_training
        return self._how(features) if self._num_batches == self._breaks_at else features


def with_nan(features: ImageFeatures) -> ImageFeatures:
    return replace(features, projected=features.projected * float("nan"))


def times_infinity(gradient: Tensor) -> Tensor:
    return gradient * float("inf")


def raising(error: Exception) -> Callable[[ImageFeatures], ImageFeatures]:
    def fail(_: ImageFeatures) -> ImageFeatures:
        raise error

    return fail


def num_steps_until(epoch: int, prompts: Checkpoint) -> int:
    """Count the steps of a stage until an epoch has ended."""
    laboratory = Laboratory()
    laboratory.encoder_tuning().run(prompts)
    steps = [event for event in laboratory.listener.events if isinstance(event, StepFinished)]
    return sum(step.epoch <= epoch for step in steps)


def test_a_loss_that_is_not_finite_names_its_step_its_terms_and_the_last_good_checkpoint(
    prompts: Checkpoint,
) -> None:
    encoder = BreakingEncoder(breaks_at=num_steps_until(2, prompts) + 1, how=with_nan)
    laboratory = Laboratory(encoder=encoder)
    with pytest.raises(ConfigurationError) as caught:
        laboratory.encoder_tuning().run(prompts)
    message = str(caught.value)
    assert "the encoder stage diverged in epoch 3, step 1: identity nan, triplet nan" in message
    assert "i2tce nan, total nan" in message
    place = laboratory.runs.place_of("encoder-state")
    assert f"the last good checkpoint is {place} of epoch 2" in message
    kept = laboratory.runs.load("encoder-state")
    assert kept is not None
    assert kept.header["epoch"] == 2


def test_a_divergence_in_the_first_epoch_says_that_nothing_is_saved(prompts: Checkpoint) -> None:
    laboratory = Laboratory(encoder=BreakingEncoder(breaks_at=1, how=with_nan))
    with pytest.raises(ConfigurationError, match="no checkpoint of this stage was saved before"):
        laboratory.encoder_tuning().run(prompts)


def test_weights_that_are_not_finite_are_never_saved_as_a_good_checkpoint(
    prompts: Checkpoint,
) -> None:
    def blow_up(features: ImageFeatures) -> ImageFeatures:
        # The losses of the step are finite; what it leaves behind is not.
        for _, parameter in encoder.named_parameters():
            parameter.register_hook(times_infinity)  # type: ignore[no-untyped-call]
        return features

    encoder = BreakingEncoder(breaks_at=num_steps_until(2, prompts), how=blow_up)
    laboratory = Laboratory(encoder=encoder)
    with pytest.raises(ConfigurationError, match=r"diverged in epoch 2, at its last step.*epoch 1"):
        laboratory.encoder_tuning().run(prompts)
    kept = laboratory.runs.load("encoder-state")
    assert kept is not None
    assert all(bool(tensor.isfinite().all()) for tensor in kept.tensors.values())


OUT_OF_MEMORY = (
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GiB)"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"),
    RuntimeError("std::bad_alloc"),
    RuntimeError("could not create a primitive"),
)


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: str(error)[:20])
def test_memory_that_runs_out_names_the_setting_to_lower(
    prompts: Checkpoint, error: Exception
) -> None:
    laboratory = Laboratory(encoder=BreakingEncoder(breaks_at=1, how=raising(error)))
    with pytest.raises(ConfigurationError) as caught:
        laboratory.encoder_tuning().run(prompts)
    assert "memory ran out in the encoder stage, epoch 1, step 1, 4 images" in str(caught.value)
    assert "lower finetuning.identities_per_batch or finetuning.images_per" in str(caught.value)


OTHER_ERRORS = (
    "mat1 and mat2 shapes cannot be multiplied",
    "could not create a primitive descriptor for the convolution forward propagation primitive",
)


@pytest.mark.parametrize("words", OTHER_ERRORS, ids=lambda words: words[-10:])
def test_another_error_is_not_taken_for_memory(prompts: Checkpoint, words: str) -> None:
    error = RuntimeError(words)
    assert not is_out_of_memory(error)
    laboratory = Laboratory(encoder=BreakingEncoder(breaks_at=1, how=raising(error)))
    with pytest.raises(RuntimeError, match=words):
        laboratory.encoder_tuning().run(prompts)


def stopped_after(prompts: Checkpoint, *, epoch: int) -> Laboratory:
    laboratory = Laboratory(listener=PowerCut(epoch=epoch + 1))
    with pytest.raises(PowerFailureError):
        laboratory.encoder_tuning().run(prompts)
    return Laboratory(runs=laboratory.runs)


def test_a_damaged_state_is_replaced_by_the_one_before_it_and_costs_one_epoch(
    prompts: Checkpoint,
) -> None:
    whole = Laboratory().encoder_tuning().run(prompts)
    laboratory = stopped_after(prompts, epoch=3)
    laboratory.runs.damaged.add("encoder-state")
    resumed = laboratory.encoder_tuning().run(prompts)
    assert CheckpointDamaged("encoder-state", epoch=2) in laboratory.listener.events
    assert [epoch.epoch for epoch in laboratory.epochs()] == [3, 4]
    for name, tensor in whole.tensors.items():
        assert torch.equal(resumed.tensors[name], tensor)


def test_a_state_that_is_gone_is_replaced_by_the_one_before_it(prompts: Checkpoint) -> None:
    laboratory = stopped_after(prompts, epoch=3)
    del laboratory.runs.checkpoints["encoder-state"]
    laboratory.encoder_tuning().run(prompts)
    assert [epoch.epoch for epoch in laboratory.epochs()] == [3, 4]


def test_a_damaged_state_with_none_before_it_is_an_error(prompts: Checkpoint) -> None:
    laboratory = stopped_after(prompts, epoch=1)
    laboratory.runs.damaged.add("encoder-state")
    with pytest.raises(CheckpointError, match="encoder-state is damaged"):
        laboratory.encoder_tuning().run(prompts)


def test_a_whole_state_of_another_training_is_replaced_by_the_one_before_it(
    prompts: Checkpoint,
) -> None:
    whole = Laboratory().encoder_tuning().run(prompts)
    laboratory = stopped_after(prompts, epoch=3)
    laboratory.runs.checkpoints["encoder-state"] = prompts
    resumed = laboratory.encoder_tuning().run(prompts)
    assert CheckpointDamaged("encoder-state", epoch=2) in laboratory.listener.events
    assert all(torch.equal(resumed.tensors[name], whole.tensors[name]) for name in whole.tensors)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda state: replace(state, header={**state.header, "format": "reid-prompts"}),
         "should hold the state of a training .reid-state., but holds 'reid-prompts'"),
        (lambda state: replace(state, header={**state.header, "epoch": 5}),
         "says epoch 5, but the stage has 4"),
        (lambda state: replace(state, header={**state.header, "epoch": None}),
         "says epoch None, but the stage has 4"),
        (lambda state: replace(state, tensors={
            **state.tensors, "classifier.weight": torch.zeros(9, 8)}),
         r"classifier.weight is .9, 8. there and .4, 8. here"),
    ],
)  # fmt: skip
def test_a_state_of_another_training_with_none_before_it_is_refused_by_both_sides(
    prompts: Checkpoint, spoil: Callable[[Checkpoint], Checkpoint], words: str
) -> None:
    laboratory = stopped_after(prompts, epoch=1)
    states = laboratory.runs.checkpoints
    states["encoder-state"] = spoil(states["encoder-state"])
    with pytest.raises(CheckpointError, match=words):
        laboratory.encoder_tuning().run(prompts)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({"num_identities": 9}, "its number of identities is 9, and 4 is wanted"),
        ({"encoder": {"name": "rn50"}}, "its encoder is 'rn50', and 'fake' is wanted"),
        ({"format": "reid-prompts"}, "its kind is 'reid-prompts', and 'reid-encoder' is wanted"),
    ],
)
def test_a_finished_encoder_from_elsewhere_is_refused_by_both_sides(
    prompts: Checkpoint, header: dict[str, JsonValue], words: str
) -> None:
    laboratory = Laboratory()
    trained = laboratory.encoder_tuning().run(prompts)
    laboratory.runs.save("encoder", replace(trained, header={**trained.header, **header}))
    with pytest.raises(CheckpointError, match=words):
        laboratory.encoder_tuning().run(prompts)


def test_another_checkpoint_is_not_taken_for_prompts(prompts: Checkpoint) -> None:
    trained = Laboratory().encoder_tuning().run(prompts)
    with pytest.raises(CheckpointError, match="'reid-prompts', not 'reid-encoder'"):
        Laboratory().encoder_tuning().run(trained)
