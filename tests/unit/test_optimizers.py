import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from reid.domain.errors import CheckpointError
from reid.domain.seeding import generator_for
from reid.domain.training.optimizers import (
    NamedAdam,
    fine_tuning_optimizer,
    prompt_optimizer,
)
from reid.domain.training.prompts import PromptLearner
from reid.domain.values.features import PromptEmbedding
from reid.domain.values.recipes import FineTuningRecipe, PromptLearningRecipe
from tests.rates import learning_rates_of

RECIPE = FineTuningRecipe(learning_rate=0.1, weight_decay=0.01)


def learner() -> PromptLearner:
    embedding = PromptEmbedding(prefix=torch.zeros(1, 3), suffix=torch.zeros(1, 3))
    return PromptLearner(
        embedding, num_identities=4, num_context_tokens=2, generator=generator_for(0)
    )


def network() -> nn.Sequential:
    """A small network with channels-last weights, biases and norms."""
    convolution = nn.Conv2d(3, 5, 3)
    layers = nn.Sequential(
        convolution, nn.BatchNorm2d(5), nn.ReLU(), nn.Flatten(), nn.Linear(20, 2)
    )
    generator = generator_for(1)
    for parameter in layers.parameters():
        nn.init.normal_(parameter, std=0.3, generator=generator)
    convolution.weight.data = convolution.weight.contiguous(memory_format=torch.channels_last)
    return layers


def train(layers: nn.Sequential, adam: NamedAdam, epochs: range) -> None:
    for epoch in epochs:
        images = torch.randn(6, 3, 4, 4, generator=generator_for(0, "images", epoch))
        adam.set_learning_rate(0.1 / epoch)
        adam.zero_grad()
        layers(images).square().sum().backward()
        adam.step()


def adam_by_loops(
    start: float, gradient: Callable[[float], float], rates: list[float], decay: float
) -> float:
    value, first, second = start, 0.0, 0.0
    for step, rate in enumerate(rates, start=1):
        slope = gradient(value) + decay * value
        first = 0.9 * first + 0.1 * slope
        second = 0.999 * second + 0.001 * slope**2
        corrected = math.sqrt(second / (1 - 0.999**step)) + 1e-8
        value -= rate * first / (1 - 0.9**step) / corrected
    return value


@pytest.mark.parametrize("name", ["weight", "in_proj_bias"])
def test_steps_equal_adam_with_decay_in_the_gradient(name: str) -> None:
    starts = [0.7, -1.3, 0.02]
    parameter = nn.Parameter(torch.tensor(starts, dtype=torch.float64))
    adam = fine_tuning_optimizer([(name, parameter)], RECIPE)
    rates = [0.1, 0.05, 0.02]
    for rate in rates:
        adam.set_learning_rate(rate)
        adam.zero_grad()
        (parameter.pow(3) / 3).sum().backward()  # type: ignore[no-untyped-call]
        adam.step()
    factor = 2.0 if "bias" in name else 1.0
    expected = [
        adam_by_loops(start, lambda x: x * x, [factor * rate for rate in rates], 0.01)
        for start in starts
    ]
    assert parameter.tolist() == pytest.approx(expected, rel=1e-9)


def test_biases_learn_faster_wherever_the_name_says_bias() -> None:
    names = ["conv.weight", "conv.bias", "attn.in_proj_bias", "attn.in_proj_weight", "ln_1.bias"]
    adam = fine_tuning_optimizer([(name, nn.Parameter(torch.ones(1))) for name in names], RECIPE)
    expected = [0.1, 0.2, 0.2, 0.1, 0.2]
    assert [learning_rates_of(adam)[name] for name in names] == pytest.approx(expected)
    adam.set_learning_rate(0.01)
    expected = [0.01, 0.02, 0.02, 0.01, 0.02]
    assert [learning_rates_of(adam)[name] for name in names] == pytest.approx(expected)


def test_frozen_parameters_are_left_out() -> None:
    moving, frozen = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2), requires_grad=False)
    adam = fine_tuning_optimizer([("moving", moving), ("frozen", frozen)], RECIPE)
    assert set(learning_rates_of(adam)) == {"moving"}


def test_prompts_start_at_the_recipes_rate() -> None:
    recipe = PromptLearningRecipe()
    adam = prompt_optimizer(learner(), recipe)
    assert learning_rates_of(adam) == {"cls_ctx": recipe.learning_rate}


def test_identities_absent_from_a_batch_still_move() -> None:
    module = learner()
    adam = prompt_optimizer(module, PromptLearningRecipe())
    before = module.cls_ctx.detach().clone()
    module(torch.tensor([0])).sum().backward()
    adam.step()
    assert (module.cls_ctx != before).all()


def test_gradients_are_forgotten_on_request() -> None:
    layers = network()
    adam = fine_tuning_optimizer(layers.named_parameters(), RECIPE)
    layers(torch.ones(2, 3, 4, 4)).sum().backward()
    adam.zero_grad()
    assert all(parameter.grad is None for parameter in layers.parameters())


def copies(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name: tensor.clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }


def test_a_resumed_run_goes_on_bit_by_bit() -> None:
    straight = network()
    train(straight, fine_tuning_optimizer(straight.named_parameters(), RECIPE), range(1, 8))

    interrupted = network()
    adam = fine_tuning_optimizer(interrupted.named_parameters(), RECIPE)
    train(interrupted, adam, range(1, 4))
    weights, saved = copies(interrupted.state_dict()), copies(adam.state())

    resumed = network()
    resumed.load_state_dict(weights)
    adam = fine_tuning_optimizer(resumed.named_parameters(), RECIPE)
    adam.load_state({**weights, **saved})
    train(resumed, adam, range(4, 8))
    for name, parameter in straight.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], parameter), name


def test_two_runs_are_equal_to_the_bit() -> None:
    one, other = network(), network()
    for layers in (one, other):
        train(layers, fine_tuning_optimizer(layers.named_parameters(), RECIPE), range(1, 6))
    for first, second in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(first, second)


def test_loading_copies_what_it_is_given() -> None:
    layers = network()
    adam = fine_tuning_optimizer(layers.named_parameters(), RECIPE)
    train(layers, adam, range(1, 3))
    saved = copies(adam.state())
    kept = copies(saved)
    adam.load_state(saved)
    train(layers, adam, range(3, 5))
    assert all(torch.equal(saved[name], kept[name]) for name in kept)


def test_the_state_names_both_moments_and_the_step_of_each_parameter() -> None:
    module = learner()
    adam = prompt_optimizer(module, PromptLearningRecipe())
    assert adam.state() == {}
    module(torch.tensor([0])).sum().backward()
    adam.step()
    state = adam.state()
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == {
        "adam.exp_avg.cls_ctx": (4, 2, 3),
        "adam.exp_avg_sq.cls_ctx": (4, 2, 3),
        "adam.step.cls_ctx": (),
    }
    assert state["adam.step.cls_ctx"].item() == 1.0
    assert not any(tensor.requires_grad for tensor in state.values())


def test_a_parameter_that_never_had_a_gradient_has_no_state_and_none_is_asked_for() -> None:
    used, idle = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    adam = fine_tuning_optimizer([("used", used), ("idle", idle)], RECIPE)
    used.sum().backward()  # type: ignore[no-untyped-call]
    adam.step()
    assert not any("idle" in name for name in adam.state())
    adam.load_state(copies(adam.state()))
    assert torch.equal(idle, torch.ones(2))


def stepped() -> NamedAdam:
    module = learner()
    adam = prompt_optimizer(module, PromptLearningRecipe())
    module(torch.tensor([0])).sum().backward()
    adam.step()
    return adam


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("adam.step.cls_ctx"), "lacks step of cls_ctx"),
        (lambda s: s.update({"adam.step.other": torch.ones(())}), "adam.step.other"),
        (lambda s: s.update({"adam.exp_avg.cls_ctx": torch.ones(5, 2, 3)}), r"exp_avg of cls_ctx"),
        (lambda s: s.update({"adam.step.cls_ctx": torch.ones(1)}), r"step of cls_ctx is \(1,\)"),
    ],
    ids=["incomplete", "unknown parameter", "other shape", "step not a scalar"],
)
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(
    change: Callable[[dict[str, Tensor]], object], message: str
) -> None:
    adam = stepped()
    before = copies(adam.state())
    damaged = {name: tensor + 1 for name, tensor in before.items()}
    change(damaged)
    with pytest.raises(CheckpointError, match=message):
        adam.load_state(damaged)
    after = adam.state()
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_gradients_longer_than_the_limit_are_cut_to_it() -> None:
    for limit, length in ((0.0, 5.0), (10.0, 5.0), (1.0, 1.0)):
        parameter = nn.Parameter(torch.zeros(2))
        adam = NamedAdam(
            [("weight", parameter)],
            learning_rate=0.1,
            weight_decay=0.0,
            max_grad_norm=limit,
        )
        parameter.grad = torch.tensor([3.0, 4.0])
        adam.step()
        moment = adam.state()["adam.exp_avg.weight"]  # a tenth of the gradient
        assert float(moment.norm()) * 10 == pytest.approx(length, rel=1e-4)


def test_nothing_to_train_is_refused() -> None:
    frozen = nn.Parameter(torch.ones(1), requires_grad=False)
    with pytest.raises(ValueError, match="none requires a gradient"):
        fine_tuning_optimizer([("frozen", frozen)], RECIPE)


def test_a_name_that_comes_twice_is_refused() -> None:
    twice = [("weight", nn.Parameter(torch.ones(1))), ("weight", nn.Parameter(torch.ones(1)))]
    with pytest.raises(ValueError, match="comes twice"):
        fine_tuning_optimizer(twice, RECIPE)
