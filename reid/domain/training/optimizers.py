"""Adam for both stages, with its state under parameter names, as checkpoints keep it."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from reid.domain.errors import CheckpointError
from reid.domain.training.prompts import PromptLearner
from reid.domain.values.recipes import FineTuningRecipe, PromptLearningRecipe

STATE_PREFIX = "adam."  # begins the names of `NamedAdam.state`, and no others
_PARTS = ("exp_avg", "exp_avg_sq", "step")


class NamedAdam:
    """Adam whose parameters have names and whose state is a flat table of tensors.

    Kingma & Ba 2015, arXiv:1412.6980, algorithm 1, beta 0.9 and 0.999, epsilon 1e-8, with L2 decay
    added to the gradient (not AdamW). Every parameter is updated densely: rows without a gradient
    of their own still move by momentum and decay, as in CLIP-ReID.
    """

    def __init__(
        self,
        named_parameters: Iterable[tuple[str, nn.Parameter]],
        *,
        learning_rate: float,
        weight_decay: float,
        bias_factor: float = 1.0,
        max_grad_norm: float = 0.0,
    ) -> None:
        """Take the parameters that require a gradient.

        A parameter is a bias where "bias" stands in its name (attention's `in_proj_bias` and the
        norms' biases too). Biases decay as well, and learn at `bias_factor` times the rate. An L2
        norm of all gradients together above `max_grad_norm` is cut to it (Pascanu et al. 2013,
        arXiv:1211.5063, algorithm 1); 0: never.

        Raises:
            ValueError: Nothing requires a gradient, or a name comes twice.
        """
        listed = [(name, one) for name, one in named_parameters if one.requires_grad]
        weights = {name: one for name, one in listed if "bias" not in name}
        biases = {name: one for name, one in listed if "bias" in name}
        self._parameters = weights | biases
        if not listed:
            raise ValueError("there is no parameter to train: none requires a gradient")
        if len(self._parameters) != len(listed):
            raise ValueError(
                "a parameter name comes twice; put a prefix before each module's names"
            )
        groups = [(weights, 1.0), (biases, bias_factor)]
        # fused: one pass over all tensors of a group; several times faster than a loop on the CPU.
        self._adam = torch.optim.Adam(
            [{"params": list(own.values()), "factor": factor} for own, factor in groups if own],
            weight_decay=weight_decay,
            fused=True,
        )
        self._max_grad_norm = max_grad_norm
        self.set_learning_rate(learning_rate)

    def zero_grad(self) -> None:
        """Clear all gradients."""
        self._adam.zero_grad(set_to_none=True)

    def step(self) -> None:
        """Update every parameter that has a gradient."""
        if self._max_grad_norm > 0:
            nn.utils.clip_grad_norm_(self._parameters.values(), self._max_grad_norm)
        self._adam.step()

    def set_learning_rate(self, rate: float) -> None:
        """Set the learning rate; that of biases is larger by their factor."""
        for group in self._adam.param_groups:
            group["lr"] = rate * group["factor"]

    def state(self) -> dict[str, Tensor]:
        """Return both moments and the step count of every parameter that was ever updated.

        Returns:
            `adam.exp_avg.<name>`, `adam.exp_avg_sq.<name>` and `adam.step.<name>`. The tensors are
            Adam's own, which the next step changes in place: copy what must outlast it.
        """
        return {
            f"{STATE_PREFIX}{part}.{name}": self._adam.state[parameter][part].detach()
            for name, parameter in self._parameters.items()
            if parameter in self._adam.state
            for part in _PARTS
        }

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore a copy of what `state` returned; learning rates stay, other tensors are ignored.

        Raises:
            CheckpointError: A parameter's state is incomplete, of another shape, or of a parameter
                that is not here; nothing is changed then.
        """
        own = {name: tensor for name, tensor in tensors.items() if name.startswith(STATE_PREFIX)}
        states: dict[Tensor, dict[str, Tensor]] = {}
        for name, parameter in self._parameters.items():
            names = {part: f"{STATE_PREFIX}{part}.{name}" for part in _PARTS}
            found = {part: own.pop(place) for part, place in names.items() if place in own}
            if found:
                states[parameter] = _copied(found, name, parameter)
        if own:
            raise CheckpointError(
                f"the checkpoint holds optimiser state for parameters that are not trained here "
                f"({_some(own)}); resume with the settings of the run that wrote it"
            )
        self._adam.state.clear()
        self._adam.state.update(states)


def prompt_optimizer(learner: PromptLearner, recipe: PromptLearningRecipe) -> NamedAdam:
    """Build stage 1's optimiser, of the learned tokens only."""
    return NamedAdam(
        learner.named_parameters(),
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
    )


def fine_tuning_optimizer(
    named_parameters: Iterable[tuple[str, nn.Parameter]], recipe: FineTuningRecipe
) -> NamedAdam:
    """Build stage 2's optimiser: biases learn faster; decay on everything."""
    return NamedAdam(
        named_parameters,
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        bias_factor=recipe.bias_learning_rate_factor,
        max_grad_norm=recipe.max_grad_norm,
    )


def _copied(found: Mapping[str, Tensor], name: str, parameter: nn.Parameter) -> dict[str, Tensor]:
    """Copy a parameter's state, of which each part must be there and of its shape."""
    if missing := set(_PARTS) - found.keys():
        raise CheckpointError(
            f"the checkpoint lacks {_some(missing)} of {name} in the optimiser's state; "
            "it is damaged, go back to an earlier one or start the stage again"
        )
    step = torch.empty((), dtype=torch.float32, device=parameter.device)
    state = {part: step if part == "step" else parameter for part in _PARTS}
    for part, like in state.items():
        if found[part].shape != like.shape:
            raise CheckpointError(
                f"the checkpoint's {part} of {name} is {tuple(found[part].shape)}, but "
                f"{tuple(like.shape)} is needed; resume with the settings of the run that wrote it"
            )
        # Filled in place so that moments keep the parameter's layout (channels last, for example).
        state[part] = torch.empty_like(like, requires_grad=False).copy_(found[part])
    return state


def _some(names: Iterable[str]) -> str:
    ordered = sorted(names)
    return ", ".join(ordered[:3]) + (", ..." if len(ordered) > 3 else "")
