import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reid.domain.training.schedules import fine_tuning_rate, prompt_learning_rate
from reid.domain.values.recipes import FineTuningRecipe, PromptLearningRecipe

PROMPTS = PromptLearningRecipe(epochs=60)
ENCODER = FineTuningRecipe()


def test_stage_one_warms_up_to_the_stated_rates() -> None:
    rates = [prompt_learning_rate(epoch, PROMPTS) for epoch in range(1, 6)]
    assert rates == pytest.approx([7.8e-5, 1.46e-4, 2.14e-4, 2.82e-4, 3.4405e-4], rel=1e-4)


def test_stage_one_ends_at_the_smallest_rate() -> None:
    assert prompt_learning_rate(60, PROMPTS) == PROMPTS.minimum_learning_rate
    assert prompt_learning_rate(61, PROMPTS) == PROMPTS.minimum_learning_rate


@settings(deadline=None)
@given(epochs=st.integers(1, 200), warmup=st.integers(0, 20))
def test_stage_one_rises_and_then_falls_within_its_bounds(epochs: int, warmup: int) -> None:
    recipe = PromptLearningRecipe(epochs=epochs, warmup_epochs=warmup)
    rates = [prompt_learning_rate(epoch, recipe) for epoch in range(1, epochs + 1)]
    assert all(1e-6 <= rate <= 3.5e-4 for rate in rates)
    rising, falling = rates[: max(warmup - 1, 0)], rates[max(warmup - 1, 0) :]
    assert all(one < next_one for one, next_one in pairwise(rising))
    assert all(one > next_one for one, next_one in pairwise(falling))


def test_stage_two_starts_near_a_tenth_of_the_rate() -> None:
    assert fine_tuning_rate(1, ENCODER) == pytest.approx(9.5e-7)
    assert fine_tuning_rate(9, ENCODER) == pytest.approx(5e-6 * 0.91)
    assert fine_tuning_rate(10, ENCODER) == 5e-6


def test_the_milestone_itself_is_the_first_reduced_epoch() -> None:
    assert fine_tuning_rate(29, ENCODER) == 5e-6
    assert fine_tuning_rate(30, ENCODER) == pytest.approx(5e-7)
    assert fine_tuning_rate(49, ENCODER) == pytest.approx(5e-7)
    assert fine_tuning_rate(50, ENCODER) == pytest.approx(5e-8)


def test_stage_two_without_warm_up_and_milestones_is_constant() -> None:
    recipe = FineTuningRecipe(warmup_epochs=0, milestones=())
    assert {fine_tuning_rate(epoch, recipe) for epoch in range(1, 61)} == {5e-6}


@settings(deadline=None)
@given(
    milestones=st.lists(st.integers(1, 80), max_size=4).map(sorted),
    epoch=st.integers(11, 80),
    factor=st.sampled_from([0.1, 0.5]),
)
def test_every_passed_milestone_reduces_once(
    milestones: list[int], epoch: int, factor: float
) -> None:
    recipe = FineTuningRecipe(milestones=tuple(milestones), decay_factor=factor)
    expected = recipe.learning_rate
    for milestone in milestones:
        expected *= factor if milestone <= epoch else 1.0
    assert fine_tuning_rate(epoch, recipe) == pytest.approx(expected)


def test_the_cosine_falls_from_the_full_rate_to_nearly_nothing_after_the_warm_up() -> None:
    recipe = FineTuningRecipe(epochs=20, learning_rate=1.0, warmup_epochs=4, schedule="cosine")
    rates = [fine_tuning_rate(epoch, recipe) for epoch in range(1, 21)]
    assert rates[:4] == pytest.approx([0.325, 0.55, 0.775, 1.0])
    assert all(earlier > later for earlier, later in pairwise(rates[3:]))
    assert rates[19] == pytest.approx(0.5 * (1 + math.cos(math.pi * 16 / 17)))
    assert fine_tuning_rate(21, recipe) == pytest.approx(0.0)


def test_the_milestones_mean_nothing_to_the_cosine() -> None:
    recipe = FineTuningRecipe(schedule="cosine", milestones=(30, 50))
    assert fine_tuning_rate(40, recipe) == fine_tuning_rate(
        40, FineTuningRecipe(schedule="cosine", milestones=())
    )
