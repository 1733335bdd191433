from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from reid.domain.errors import CheckpointError
from reid.domain.seeding import generator_for
from reid.domain.training.ema import ExponentialMovingAverage, without_averages


def walk(num_steps: int) -> list[dict[str, Tensor]]:
    """Weights, running statistics and a counter after 0, 1, 2, ... steps."""
    generator = generator_for(1)
    return [
        {
            "weight": torch.randn(3, 2, generator=generator),
            "running_var": torch.rand(3, generator=generator),
            "num_batches_tracked": torch.tensor(step),
        }
        for step in range(num_steps + 1)
    ]


def averaged(steps: list[dict[str, Tensor]], *, decay: float) -> ExponentialMovingAverage:
    average = ExponentialMovingAverage(steps[0], decay=decay)
    for tensors in steps[1:]:
        average.update(tensors)
    return average


def test_the_average_follows_its_formula() -> None:
    steps = walk(30)
    got = averaged(steps, decay=0.6).averages()
    for name in ("weight", "running_var"):
        expected = steps[0][name].double()
        for earlier, tensors in enumerate(steps[1:]):
            decay = min(0.6, (1 + earlier) / (10 + earlier))
            expected = decay * expected + (1 - decay) * tensors[name].double()
        torch.testing.assert_close(got[name].double(), expected, rtol=1e-5, atol=1e-6)


def test_a_young_average_forgets_where_it_began() -> None:
    far, near = {"weight": torch.full((2,), 1000.0)}, {"weight": torch.ones(2)}
    average = averaged([far, *[near] * 10], decay=0.9999)
    assert (average.averages()["weight"] - 1).abs().max() < 0.02


def test_what_does_not_move_stays_as_it_is_to_the_bit() -> None:
    still = {"weight": torch.randn(50, generator=generator_for(2))}
    average = averaged([still] * 40, decay=0.9)
    assert torch.equal(average.averages()["weight"], still["weight"])


def test_counters_are_not_averaged() -> None:
    assert set(averaged(walk(2), decay=0.9).averages()) == {"weight", "running_var"}


def test_the_tensors_that_are_followed_are_left_alone() -> None:
    steps = walk(3)
    copies = [{name: tensor.clone() for name, tensor in step.items()} for step in steps]
    averaged(steps, decay=0.5)
    for step, copied in zip(steps, copies, strict=True):
        assert all(torch.equal(step[name], copied[name]) for name in step)


def test_parameters_are_averaged_without_a_graph() -> None:
    parameter = torch.nn.Parameter(torch.ones(2))
    average = averaged([{"weight": parameter}] * 3, decay=0.9)
    assert not average.averages()["weight"].requires_grad


def test_averages_keep_the_layout_of_what_they_follow() -> None:
    weight = torch.randn(4, 3, 2, 2).to(memory_format=torch.channels_last)
    average = averaged([{"weight": weight}] * 2, decay=0.9).averages()["weight"]
    assert average.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("stop", [0, 1, 7, 12])
def test_an_average_goes_on_from_its_state_to_the_bit(stop: int) -> None:
    steps = walk(12)
    whole = averaged(steps, decay=0.7)
    saved = {
        name: tensor.clone()
        for name, tensor in averaged(steps[: stop + 1], decay=0.7).state().items()
    }
    resumed = ExponentialMovingAverage(walk(0)[0], decay=0.7)
    resumed.load_state({**saved, "weight": torch.zeros(1)})
    for tensors in steps[stop + 1 :]:
        resumed.update(tensors)
    assert resumed.state().keys() == whole.state().keys()
    for name, tensor in whole.state().items():
        assert torch.equal(resumed.state()[name], tensor), name


def test_a_checkpoint_s_own_tensors_are_told_from_averages() -> None:
    steps = walk(1)
    state = steps[1] | averaged(steps, decay=0.5).state()
    assert without_averages(state) == steps[1]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda state: state.pop("average.weight"),
        lambda state: state.pop("average.num_updates"),
        lambda state: state.update({"average.running_var": torch.zeros(5)}),
    ],
    ids=["without a weight", "without the count", "another shape"],
)
def test_a_state_that_does_not_fit_is_refused(spoil: Callable[[dict[str, Tensor]], None]) -> None:
    average = averaged(walk(2), decay=0.9)
    before = {name: tensor.clone() for name, tensor in average.state().items()}
    state = averaged(walk(5), decay=0.9).state()
    spoil(state)
    with pytest.raises(CheckpointError, match=r"no average of .*resume with the settings"):
        average.load_state(state)
    assert all(torch.equal(average.state()[name], tensor) for name, tensor in before.items())


@pytest.mark.parametrize("decay", [0.0, 1.0, -0.5])
def test_a_decay_that_averages_nothing_is_refused(decay: float) -> None:
    with pytest.raises(ValueError, match=r"within \(0, 1\)"):
        ExponentialMovingAverage(walk(0)[0], decay=decay)
