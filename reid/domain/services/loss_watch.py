"""Find the first step whose loss is not finite, without holding the device up at every step."""

from collections.abc import Mapping

import torch
from torch import Tensor

from reid.domain.training.objectives import Objective

TOTAL = "total"
"""Name of the weighted sum beside its terms."""

_STEPS_BETWEEN_LOOKS = 50
"""Reading a number from an accelerator every step would stall it."""


def named_losses(objective: Objective) -> dict[str, Tensor]:
    """List () floats by name: the terms and their weighted sum."""
    return objective.terms | {TOTAL: objective.total}


class LossWatch:
    """Remembers the losses of steps until somebody looks at them."""

    def __init__(self) -> None:
        """Begin with none."""
        self._unseen: list[tuple[int, dict[str, Tensor]]] = []

    def note(self, step: int, losses: Mapping[str, Tensor]) -> None:
        """Remember the losses of a step, () float each."""
        kept = {name: value.detach() for name, value in losses.items()}
        self._unseen.append((step, kept))

    @property
    def wants_look(self) -> bool:
        """Whether enough steps are unseen for a look to be cheap."""
        return len(self._unseen) >= _STEPS_BETWEEN_LOOKS

    def first_broken(self) -> tuple[int, dict[str, float]] | None:
        """Look at what is unseen.

        Returns:
            The first step with a loss that is not finite, and all of its losses; None where all are
            finite.
        """
        seen, self._unseen = self._unseen, []
        if not seen:
            return None
        rows = torch.stack([torch.stack(list(losses.values())) for _, losses in seen])
        broken = (~rows.isfinite().all(dim=1)).nonzero()  # rows: steps x terms
        if len(broken) == 0:
            return None
        step, losses = seen[int(broken[0])]
        return step, {name: float(value) for name, value in losses.items()}
