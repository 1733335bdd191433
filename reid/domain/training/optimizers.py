"""Adam for both stages, under parameter names, so that checkpoints can hold its state."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from reid.domain.errors import CheckpointError
from reid.domain.training.prompts import PromptLearner
from reid.domain.values.recipes import FineTuningRecipe, PromptLearningRecipe

STATE_PREFIX = "adam."
"""Begins the names of the tensors that `NamedAdam.state` gives, and of no others."""

_MOMENTS = ("exp_avg", "exp_avg_sq")
_PARTS = (*_MOMENTS, "step")


@dataclass(frozen=True, slots=True)
class ParameterGroup:
    """Parameters that learn at the same rate."""

    parameters: Mapping[str, nn.Parameter]
    factor: float
    """Times the rate of the schedule."""


class NamedAdam:
    """Adam whose parameters have names and whose state is a flat table of tensors.

    Kingma & Ba 2015, arXiv:1412.6980, algorithm 1, beta 0.9 and 0.999, epsilon 1e-8, with L2 decay
    added to the gradient (not AdamW). Every parameter is updated densely: rows without a gradient
    of their own still move by momentum and decay, as in CLIP-ReID.
    """

    def __init__(
        self,
        groups: Iterable[ParameterGroup],
        *,
        learning_rate: float,
        weight_decay: float,
        max_grad_norm: float = 0.0,
    ) -> None:
        """Take parameters in groups.

        Args:
            groups: Disjoint; their order is without effect on the result.
            learning_rate: Until `set_learning_rate` says otherwise.
            weight_decay: Times the parameter, added to its gradient.
            max_grad_norm: L2 norm of all gradients together to which larger ones are cut (Pascanu
                et al. 2013, arXiv:1211.5063, algorithm 1); 0: never.

        Raises:
            ValueError: There is no parameter at all, or a name stands in two groups.
        """
        kept = [group for group in groups if group.parameters]
        names = [name for group in kept for name in group.parameters]
        if not names:
            raise ValueError("there is no parameter to train: none requires a gradient")
        if len(set(names)) != len(names):
            raise ValueError(f"parameter names stand in two groups: {sorted(names)}")
        self._parameters = {
            name: parameter for group in kept for name, parameter in group.parameters.items()
        }
        # fused: one pass over all tensors of a group; several times faster than a loop on the CPU.
        self._adam = torch.optim.Adam(
            [{"params": list(group.parameters.values()), "factor": group.factor} for group in kept],
            weight_decay=weight_decay,
            fused=True,
        )
        self._max_grad_norm = max_grad_norm
        self.set_learning_rate(learning_rate)

    def zero_grad(self) -> None:
        """Forget all gradients."""
        self._adam.zero_grad(set_to_none=True)

    def step(self) -> None:
        """Move every parameter that has a gradient."""
        if self._max_grad_norm > 0:
            nn.utils.clip_grad_norm_(self._parameters.values(), self._max_grad_norm)
        self._adam.step()

    def set_learning_rate(self, rate: float) -> None:
        """Set each group's learning rate to `rate` times the group's factor."""
        for group in self._adam.param_groups:
            group["lr"] = rate * group["factor"]

    def learning_rates(self) -> dict[str, float]:
        """Give the learning rate of each parameter, by name."""
        rates = {
            id(parameter): float(group["lr"])
            for group in self._adam.param_groups
            for parameter in group["params"]
        }
        return {name: rates[id(parameter)] for name, parameter in self._parameters.items()}

    def state(self) -> dict[str, Tensor]:
        """Give both moments and the step count of every parameter that was ever moved.

        Returns:
            `adam.exp_avg.<name>`, `adam.exp_avg_sq.<name>` and `adam.step.<name>`. The tensors are
            Adam's own, which the next step changes in place: copy what must outlast it.
        """
        return {
            _state_name(part, name): self._adam.state[parameter][part].detach()
            for name, parameter in self._parameters.items()
            if parameter in self._adam.state
            for part in _PARTS
        }

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Replace the state by a copy of one that `state` gave; learning rates stay as they are.

        Args:
            tensors: May hold others beside those of `state`.

        Raises:
            CheckpointError: A parameter's state is incomplete, of another shape, or of a parameter
                that is not here; nothing is changed then.
        """
        own = {name: tensor for name, tensor in tensors.items() if name.startswith(STATE_PREFIX)}
        states = {
            name: self._state_of(name, own)
            for name in self._parameters
            if any(_state_name(part, name) in own for part in _PARTS)
        }
        surplus = set(own) - {_state_name(part, name) for name in states for part in _PARTS}
        if surplus:
            raise CheckpointError(
                f"the checkpoint holds optimiser state for parameters that are not trained here "
                f"({_some(surplus)}); resume with the settings of the run that wrote it"
            )
        self._adam.state.clear()
        for name, state in states.items():
            self._adam.state[self._parameters[name]] = state

    def _state_of(self, name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        parameter = self._parameters[name]
        missing = {part for part in _PARTS if _state_name(part, name) not in tensors}
        if missing:
            raise CheckpointError(
                f"the checkpoint lacks {_some(missing)} of {name} in the optimiser's state; "
                "it is damaged, go back to an earlier one or start the stage anew"
            )
        return {
            part: _copy(
                tensors[_state_name(part, name)],
                like=parameter if part in _MOMENTS else _step_like(parameter),
                title=f"{part} of {name}",
            )
            for part in _PARTS
        }


def prompt_optimizer(learner: PromptLearner, recipe: PromptLearningRecipe) -> NamedAdam:
    """Build stage 1's optimiser: it moves the learned tokens only.

    Raises:
        ValueError: The learner's parameters are frozen.
    """
    return NamedAdam(
        [ParameterGroup(_trainable(learner.named_parameters()), factor=1.0)],
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
    )


def fine_tuning_optimizer(
    named_parameters: Iterable[tuple[str, nn.Parameter]], recipe: FineTuningRecipe
) -> NamedAdam:
    """Build stage 2's optimiser: two groups, biases learning faster; decay on everything.

    Args:
        named_parameters: Those that require no gradient are left out. A parameter is a bias where
            "bias" stands in its name (attention's `in_proj_bias` and the norms' biases too).
        recipe: Stage 2's constants.

    Raises:
        ValueError: Nothing requires a gradient, or a name comes twice.
    """
    listed = [(name, parameter) for name, parameter in named_parameters if parameter.requires_grad]
    trainable = _trainable(listed)
    if len(trainable) != len(listed):
        raise ValueError("a parameter name comes twice; put a prefix before each module's names")
    biases = {name: parameter for name, parameter in trainable.items() if "bias" in name}
    weights = {name: parameter for name, parameter in trainable.items() if "bias" not in name}
    return NamedAdam(
        [
            ParameterGroup(weights, factor=1.0),
            ParameterGroup(biases, factor=recipe.bias_learning_rate_factor),
        ],
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.max_grad_norm,
    )


def _trainable(named: Iterable[tuple[str, nn.Parameter]]) -> dict[str, nn.Parameter]:
    return {name: parameter for name, parameter in named if parameter.requires_grad}


def _step_like(parameter: Tensor) -> Tensor:
    return torch.empty((), dtype=torch.float32, device=parameter.device)


def _copy(tensor: Tensor, *, like: Tensor, title: str) -> Tensor:
    if tensor.shape != like.shape:
        raise CheckpointError(
            f"the checkpoint's {title} is {tuple(tensor.shape)}, but {tuple(like.shape)} is needed;"
            " resume with the settings of the run that wrote it"
        )
    # Filled in place so that moments keep the parameter's layout (channels last, for example).
    return torch.empty_like(like, requires_grad=False).copy_(tensor)


def _state_name(part: str, name: str) -> str:
    return f"{STATE_PREFIX}{part}.{name}"


def _some(names: Iterable[str]) -> str:
    ordered = sorted(names)
    return ", ".join(ordered[:3]) + (", ..." if len(ordered) > 3 else "")
