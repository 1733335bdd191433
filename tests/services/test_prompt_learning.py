"""Stage 1 on fakes."""

from dataclasses import replace

import pytest
import torch

from reid.domain.events import Stage, StageFinished, StageStarted, StepFinished
from reid.domain.training.schedules import prompt_learning_rate
from reid.domain.values.samples import Resampling
from tests.fakes.encoder import FakeEncoder
from tests.fakes.run_store import FakeRunStore
from tests.services.training import PROMPTS, Laboratory, PowerCut, PowerFailureError, assert_same
from tests.text import text_of, text_state


def test_prompts_learn() -> None:
    laboratory = Laboratory(prompts=replace(PROMPTS, epochs=100))
    laboratory.prompt_learning().run()
    losses = [epoch.losses["total"] for epoch in laboratory.epochs()]
    assert losses[-1] < losses[0] - 0.1


def test_the_total_is_the_sum_of_both_contrastive_losses() -> None:
    laboratory = Laboratory()
    laboratory.prompt_learning().run()
    for epoch in laboratory.epochs():
        assert epoch.losses["total"] == pytest.approx(epoch.losses["i2t"] + epoch.losses["t2i"])


def test_the_result_has_a_row_per_identity_by_ascending_pid() -> None:
    laboratory = Laboratory()
    prompts = laboratory.prompt_learning().run()
    assert prompts.header["pids"] == [2, 5, 8, 11]
    assert prompts.tensors["prompt_learner.cls_ctx"].shape == (4, 4, 8)
    assert prompts.tensors["text_features"].shape == (4, 6)
    assert laboratory.runs.saved[-1] == "prompts"


def test_text_features_are_those_of_the_learned_prompts() -> None:
    laboratory = Laboratory()
    prompts = laboratory.prompt_learning().run()
    fixed = text_of(laboratory.encoder).embed_template(PROMPTS.template, num_context_tokens=4)
    context = prompts.tensors["prompt_learner.cls_ctx"]
    expected = [
        text_of(laboratory.encoder).encode_prompts(
            torch.cat([fixed.prefix, row, fixed.suffix])[None]
        )[0]
        for row in context
    ]
    torch.testing.assert_close(prompts.tensors["text_features"], torch.stack(expected).detach())


def test_both_encoders_stay_as_they_were() -> None:
    laboratory = Laboratory()
    fresh = FakeEncoder()
    before = dict(fresh.state()) | text_state(fresh)
    laboratory.prompt_learning().run()
    encoder = laboratory.encoder
    for name, tensor in (dict(encoder.state()) | text_state(encoder)).items():
        assert torch.equal(tensor, before[name]), name
    for _, parameter in (*encoder.named_parameters(), *text_of(encoder).named_parameters()):
        assert parameter.grad is None


def test_the_cached_images_are_resized_bilinearly() -> None:
    laboratory = Laboratory()
    laboratory.prompt_learning().run()
    assert laboratory.dataset.resamplings == {Resampling.BILINEAR}


def test_every_epoch_uses_every_image_once_at_the_scheduled_rate() -> None:
    laboratory = Laboratory()
    laboratory.prompt_learning().run()
    for number, epoch in enumerate(laboratory.epochs(), start=1):
        assert epoch.epoch == number
        assert epoch.num_images == 16
        assert epoch.learning_rate == prompt_learning_rate(number, PROMPTS)
    steps = [event for event in laboratory.listener.events if isinstance(event, StepFinished)]
    assert [step.num_images for step in steps[:3]] == [6, 6, 4]
    assert all(step.num_steps == 3 for step in steps)


def test_a_stage_is_announced_and_its_end_too() -> None:
    laboratory = Laboratory()
    laboratory.prompt_learning().run()
    stage = [e for e in laboratory.listener.events if isinstance(e, StageStarted | StageFinished)]
    assert stage == [StageStarted(Stage.PROMPTS, 1, 4), StageFinished(Stage.PROMPTS)]


def test_the_same_seed_gives_the_same_prompts_and_another_one_others() -> None:
    runs = [Laboratory(seed=seed).prompt_learning().run() for seed in (7, 7, 8)]
    assert_same(runs[0], runs[1])
    assert not torch.equal(
        runs[0].tensors["prompt_learner.cls_ctx"], runs[2].tensors["prompt_learner.cls_ctx"]
    )


@pytest.mark.parametrize("epoch", [1, 2, 3, 4])
def test_an_interrupted_stage_ends_where_an_uninterrupted_one_does(epoch: int) -> None:
    runs = FakeRunStore()
    with pytest.raises(PowerFailureError):
        Laboratory(runs=runs, listener=PowerCut(epoch=epoch)).prompt_learning().run()
    resumed = Laboratory(runs=runs)
    result = resumed.prompt_learning().run()
    assert resumed.epochs()[0].epoch == epoch
    assert_same(result, Laboratory().prompt_learning().run())


def test_states_are_kept_as_often_as_wanted_and_dropped_at_the_end() -> None:
    laboratory = Laboratory(checkpoint_every=3)
    laboratory.prompt_learning().run()
    assert laboratory.runs.saved == ["prompts-state", "prompts-state", "prompts"]
    assert laboratory.runs.load("prompts-state") is None


def test_a_finished_stage_is_not_run_again() -> None:
    first = Laboratory()
    prompts = first.prompt_learning().run()
    again = Laboratory(runs=first.runs)
    assert_same(again.prompt_learning().run(), prompts)
    assert again.listener.events == [
        StageStarted(Stage.PROMPTS, 5, 4),
        StageFinished(Stage.PROMPTS),
    ]
