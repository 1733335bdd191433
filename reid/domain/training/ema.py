"""A moving average of weights during training."""

from collections.abc import Mapping

import torch
from torch import Tensor

from reid.domain.errors import CheckpointError

_PREFIX = "average."
_NUM_UPDATES = f"{_PREFIX}num_updates"


class ExponentialMovingAverage:
    """Exponential moving average of named tensors: a' = d * a + (1 - d) * w after each step.

    Averaged weights: Polyak & Juditsky 1992, doi:10.1137/0330046; with a decay d and in evaluation:
    Szegedy et al. 2016, arXiv:1512.00567, section 8. A young average would remember little but
    where the training began, so d is min(decay, (1 + t) / (10 + t)) after t earlier updates, as in
    TensorFlow's ExponentialMovingAverage.

    Floating-point buffers are averaged too, for BatchNorm's running statistics belong to the
    weights that they were gathered with: averages of both fit together to first order, the latest
    statistics do not fit averaged weights. Counters are not averaged; the latest are right.
    """

    def __init__(self, tensors: Mapping[str, Tensor], *, decay: float) -> None:
        """Start from a copy of the floating-point tensors; `decay` is the share that a step keeps.

        Raises:
            ValueError: The decay is outside (0, 1).
        """
        if not 0 < decay < 1:
            raise ValueError(f"decay must be within (0, 1), got {decay}")
        self._decay = decay
        self._num_updates = 0
        self._averages = {
            name: tensor.detach().clone()
            for name, tensor in tensors.items()
            if tensor.is_floating_point()
        }

    def update(self, tensors: Mapping[str, Tensor]) -> None:
        """Move towards the tensors, of the first names, shapes and devices; others are ignored."""
        decay = min(self._decay, (1 + self._num_updates) / (10 + self._num_updates))
        with torch.no_grad():
            # One pass over all tensors: a loop costs an accelerator a call for each.
            torch._foreach_lerp_(
                list(self._averages.values()),
                [tensors[name].detach() for name in self._averages],
                1 - decay,
            )
        self._num_updates += 1

    def averages(self) -> dict[str, Tensor]:
        """Return the averages by name; the next update changes them in place."""
        return dict(self._averages)

    def state(self) -> dict[str, Tensor]:
        """Return what `load_state` needs: each `average.<name>`, and the number of updates."""
        named = {f"{_PREFIX}{name}": tensor for name, tensor in self._averages.items()}
        return named | {_NUM_UPDATES: torch.tensor(self._num_updates)}

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore a copy of what `state` returned; other tensors are ignored.

        Raises:
            CheckpointError: An average is missing or of another shape; nothing is changed then.
        """
        for name, own in {**self._averages, "num_updates": torch.tensor(0)}.items():
            given = tensors.get(f"{_PREFIX}{name}")
            if given is None or given.shape != own.shape:
                raise CheckpointError(
                    f"the checkpoint holds no average of {name}, or one of another shape; resume "
                    "with the settings of the run that wrote it"
                )
        for name, own in self._averages.items():
            own.copy_(tensors[f"{_PREFIX}{name}"])
        self._num_updates = int(tensors[_NUM_UPDATES])


def without_averages(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Leave the tensors of `ExponentialMovingAverage.state` out of a checkpoint's."""
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(_PREFIX)}
