"""Losses of an epoch, summed and checked without a device transfer at every step."""

import torch
from torch import Tensor

from reid.domain.training.objectives import Objective

_STEPS_BETWEEN_LOOKS = 50  # reading a number from an accelerator every step would stall it


class NotFiniteError(ArithmeticError):
    """A loss or weight is infinite or not a number; says where."""


class EpochLosses:
    """Sums the losses of an epoch's steps, and checks many at once."""

    def __init__(self, epoch: int) -> None:
        """Start before the first step."""
        self._epoch = epoch
        self._sums: dict[str, Tensor] = {}
        self._num_steps = 0
        self._unseen: list[dict[str, Tensor]] = []

    def add(self, objective: Objective) -> None:
        """Add the terms of the next step, and their weighted sum as `total`.

        Raises:
            NotFiniteError: A loss of this or of one of the last steps is not finite.
        """
        losses = objective.terms | {"total": objective.total}
        losses = {name: value.detach() for name, value in losses.items()}
        for name, value in losses.items():
            self._sums[name] = self._sums.get(name, torch.zeros_like(value)) + value
        self._num_steps += 1
        self._unseen.append(losses)
        if len(self._unseen) >= _STEPS_BETWEEN_LOOKS:
            self._look()

    def means(self) -> dict[str, float]:
        """Average each loss over the steps.

        Raises:
            NotFiniteError: A loss of one of the last steps is not finite.
        """
        self._look()
        return {name: float(value) / self._num_steps for name, value in self._sums.items()}

    def _look(self) -> None:
        if not self._unseen:
            return
        rows = torch.stack([torch.stack(list(losses.values())) for losses in self._unseen])
        broken = (~rows.isfinite().all(dim=1)).nonzero()  # rows: steps x terms
        if len(broken) > 0:
            place = int(broken[0])
            step = self._num_steps - len(self._unseen) + place + 1
            losses = {name: float(value) for name, value in self._unseen[place].items()}
            raise NotFiniteError(f"epoch {self._epoch}, step {step}: {in_words(losses)}")
        self._unseen.clear()


def in_words(losses: dict[str, float]) -> str:
    """List losses with their names, for messages."""
    return ", ".join(f"{name} {value:g}" for name, value in losses.items())
