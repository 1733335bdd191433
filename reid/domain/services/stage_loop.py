"""The loop that both training stages share: epochs, steps, progress, and states to resume from.

All randomness of a step derives from the seed, the epoch and the step, never from what ran before,
so a stage that resumes from its last saved epoch ends where an uninterrupted one would.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from reid.domain.errors import CheckpointError, ConfigurationError
from reid.domain.events import (
    CheckpointDamaged,
    CheckpointSaved,
    EpochFinished,
    Stage,
    StageFinished,
    StageStarted,
    StepFinished,
)
from reid.domain.memory import explain_out_of_memory
from reid.domain.services.loss_watch import LossWatch, named_losses
from reid.domain.services.stage_states import epoch_of_state
from reid.domain.training.objectives import Objective
from reid.domain.training.optimizers import STATE_PREFIX, NamedAdam
from reid.domain.values.checkpoints import CHECKPOINT_VERSION, STATE_FORMAT, Checkpoint
from reid.ports.events import EventListener
from reid.ports.runs import RunStore


class TrainingStage(Protocol):
    """What the loop needs of a stage."""

    @property
    def optimizer(self) -> NamedAdam:
        """Optimiser of everything that learns."""
        ...

    def batches(self, epoch: int) -> Sequence[Tensor]:
        """List the epoch's batches: (B,) int64 rows of the training samples each."""
        ...

    def objective(self, rows: Tensor, *, epoch: int, step: int) -> Objective:
        """Run the forward pass of one batch."""
        ...

    def after_step(self) -> None:
        """Follow a step of the optimiser."""
        ...

    def state(self) -> dict[str, Tensor]:
        """Everything that training changes, except the optimiser's moments."""
        ...

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore a state given by `state`."""
        ...


class StageLoop:
    """Trains a stage for a number of epochs, resuming where the run store says."""

    def __init__(
        self,
        *,
        name: Stage,
        result: str,
        num_epochs: int,
        learning_rate: Callable[[int], float],
        runs: RunStore,
        listener: EventListener,
        checkpoint_every: int,
        batch_settings: str,
    ) -> None:
        """Keep the parts.

        `result` names the finished stage's checkpoint, `learning_rate` maps one-based epochs to
        base rates, and `batch_settings` names, in messages, the settings that decide how large a
        batch is.
        """
        self._name = name
        self._result = result
        self._num_epochs = num_epochs
        self._learning_rate = learning_rate
        self._runs = runs
        self._listener = listener
        self._checkpoint_every = checkpoint_every
        self._batch_settings = batch_settings
        self._saved_epoch = 0

    @property
    def state_name(self) -> str:
        """Name of the checkpoint from which an interrupted stage resumes."""
        return f"{self._name}-state"

    def finished(self, check: Callable[[Checkpoint], None] = lambda _: None) -> Checkpoint | None:
        """Load the finished stage's checkpoint and announce it; None where there is none.

        `check` raises if the checkpoint is not of this run.

        Raises:
            CheckpointError: It cannot be read.
        """
        checkpoint = self._runs.load(self._result)
        if checkpoint is None:
            return None
        check(checkpoint)
        self._runs.discard(self.state_name)
        self._listener(StageStarted(self._name, self._num_epochs + 1, self._num_epochs))
        self._listener(StageFinished(self._name))
        return checkpoint

    def train(self, stage: TrainingStage) -> dict[str, float]:
        """Train to the last epoch.

        Returns:
            Mean loss terms of the last epoch.

        Raises:
            CheckpointError: The last two states are damaged, or a state cannot be written.
            ConfigurationError: A loss or weight is not finite, or memory ran out.
        """
        last_epoch, losses = self._restore(stage)
        self._listener(StageStarted(self._name, last_epoch + 1, self._num_epochs))
        for epoch in range(last_epoch + 1, self._num_epochs + 1):
            losses = self._train_epoch(stage, epoch)
            if epoch % self._checkpoint_every == 0 or epoch == self._num_epochs:
                self._save(stage, epoch=epoch, losses=losses)
        self._listener(StageFinished(self._name))
        return losses

    def finish(self, checkpoint: Checkpoint) -> Checkpoint:
        """Save the finished stage's checkpoint in place of its state, and return it.

        Raises:
            CheckpointError: It cannot be written.
        """
        self._runs.save(self._result, checkpoint)
        self._runs.discard(self.state_name)
        return checkpoint

    def _train_epoch(self, stage: TrainingStage, epoch: int) -> dict[str, float]:
        rate = self._learning_rate(epoch)
        stage.optimizer.set_learning_rate(rate)
        batches = stage.batches(epoch)
        sums: dict[str, Tensor] = {}
        watch = LossWatch()
        for step, rows in enumerate(batches, start=1):
            losses = self._step(stage, rows, epoch=epoch, step=step)
            _add(sums, losses)
            watch.note(step, losses)
            if watch.wants_look:
                self._require_finite(watch, epoch=epoch)
            self._listener(StepFinished(self._name, epoch, step, len(batches), len(rows)))
        self._require_finite(watch, epoch=epoch)
        means = {name: float(value) / len(batches) for name, value in sums.items()}
        self._listener(
            EpochFinished(
                stage=self._name,
                epoch=epoch,
                num_epochs=self._num_epochs,
                losses=means,
                learning_rate=rate,
                num_images=sum(len(rows) for rows in batches),
            )
        )
        return means

    def _step(
        self, stage: TrainingStage, rows: Tensor, *, epoch: int, step: int
    ) -> dict[str, Tensor]:
        place = f"in the {self._name} stage, epoch {epoch}, step {step}, {len(rows)} images"
        with explain_out_of_memory(self._batch_settings, during=place):
            objective = stage.objective(rows, epoch=epoch, step=step)
            stage.optimizer.zero_grad()
            objective.total.backward()  # type: ignore[no-untyped-call]  # torch has no stub for it
            stage.optimizer.step()
            stage.after_step()
        return named_losses(objective)

    def _require_finite(self, watch: LossWatch, *, epoch: int) -> None:
        broken = watch.first_broken()
        if broken is not None:
            step, losses = broken
            values = ", ".join(f"{name} {value:g}" for name, value in losses.items())
            raise self._diverged(f"epoch {epoch}, step {step}: {values}")

    def _diverged(self, where: str) -> ConfigurationError:
        place = self._runs.place_of(self.state_name)
        kept = (
            f"the last good checkpoint is {place} of epoch {self._saved_epoch}"
            if self._saved_epoch
            else "no checkpoint of this stage was saved before"
        )
        return ConfigurationError(
            f"the {self._name} stage diverged in {where}; {kept}; lower the stage's "
            "learning_rate and train again"
        )

    def _save(self, stage: TrainingStage, *, epoch: int, losses: Mapping[str, float]) -> None:
        tensors = stage.state() | stage.optimizer.state()
        # A finite loss can have an infinite gradient, which shows only in the next loss.
        broken = [name for name, tensor in tensors.items() if not bool(tensor.isfinite().all())]
        if broken:
            values = ", ".join(f"{name} {value:g}" for name, value in losses.items())
            raise self._diverged(
                f"epoch {epoch}, at its last step or shortly before: {broken[0]} is not finite, "
                f"with mean losses {values}"
            )
        checkpoint = Checkpoint(
            tensors=tensors,
            header={
                "format": STATE_FORMAT,
                "version": CHECKPOINT_VERSION,
                "epoch": epoch,
                "losses": dict(losses),
            },
        )
        self._runs.save(self.state_name, checkpoint, keep_previous=True)
        self._saved_epoch = epoch
        self._listener(CheckpointSaved(self.state_name, epoch))

    def _restore(self, stage: TrainingStage) -> tuple[int, dict[str, float]]:
        newest = self._newest_good(stage)
        if newest is None:
            return 0, {}
        checkpoint, epoch = newest
        tensors = checkpoint.tensors
        stage.load_state({name: tensors[name] for name in tensors if not _is_moment(name)})
        stage.optimizer.load_state({name: tensors[name] for name in tensors if _is_moment(name)})
        self._saved_epoch = epoch
        return epoch, _losses_of(checkpoint)

    def _newest_good(self, stage: TrainingStage) -> tuple[Checkpoint, int] | None:
        """Find the last intact state of this stage, and its epoch."""
        damage: CheckpointError | None = None
        try:
            newest = self._checked(self._runs.load(self.state_name), stage)
        except CheckpointError as error:
            newest, damage = None, error
        if newest is not None:
            return newest
        before = self._checked(self._runs.load_previous(self.state_name), stage)
        if before is None:
            if damage is not None:
                raise damage
            return None
        checkpoint, epoch = before
        self._listener(CheckpointDamaged(self.state_name, epoch))
        # Replace the damaged state, which must not become the previous one of the next save.
        self._runs.save(self.state_name, checkpoint)
        return before

    def _checked(
        self, checkpoint: Checkpoint | None, stage: TrainingStage
    ) -> tuple[Checkpoint, int] | None:
        if checkpoint is None:
            return None
        epoch = epoch_of_state(
            checkpoint,
            place=self._runs.place_of(self.state_name),
            wanted=stage.state(),
            ignored_prefix=STATE_PREFIX,
            num_epochs=self._num_epochs,
        )
        return checkpoint, epoch


def _is_moment(name: str) -> bool:
    return name.startswith(STATE_PREFIX)


def _add(sums: dict[str, Tensor], losses: Mapping[str, Tensor]) -> None:
    """Add up on the device, which reading a number every step would stall."""
    with torch.no_grad():
        for name, value in losses.items():
            sums[name] = sums.get(name, torch.zeros_like(value)) + value.detach()


def _losses_of(checkpoint: Checkpoint) -> dict[str, float]:
    losses = checkpoint.header.get("losses")
    known = losses if isinstance(losses, dict) else {}
    return {name: value for name, value in known.items() if isinstance(value, float)}
