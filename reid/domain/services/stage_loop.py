"""The loop that both training stages share: epochs, steps, progress, and states to resume from.

All randomness of a step derives from the seed, the epoch and the step, never from what ran before,
so a stage that resumes from its last saved epoch ends where an uninterrupted one would.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

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
from reid.domain.training.objectives import EpochLosses, NotFiniteError, Objective, in_words
from reid.domain.training.optimizers import STATE_PREFIX, NamedAdam
from reid.domain.values.checkpoints import CHECKPOINT_VERSION, STATE_FORMAT, Checkpoint, JsonValue
from reid.ports.events import EventListener
from reid.ports.runs import RunStore

WAY_OUT = "bring back the run's own file, or overwrite the run to train again"


class TrainingStage(Protocol):
    """What the loop needs of a stage."""

    name: Stage
    num_epochs: int
    optimizer: NamedAdam  # of everything that learns
    batch_settings: str  # settings that decide a batch's size, for messages

    def learning_rate(self, epoch: int) -> float:
        """Compute the base rate of a one-based epoch."""

    def batches(self, epoch: int) -> Sequence[Tensor]:
        """List the epoch's batches: (B,) int64 rows of the training samples each."""

    def objective(self, rows: Tensor, *, epoch: int, step: int) -> Objective:
        """Run the forward pass of one batch."""

    def after_step(self) -> None:
        """Follow a step of the optimiser."""

    def state(self) -> dict[str, Tensor]:
        """Everything that training changes, except the optimiser's moments."""

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore a state given by `state`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageLoop:
    """Trains the stages of a run, resuming where the run store says.

    A finished stage's checkpoint bears the stage's name.
    """

    runs: RunStore
    listener: EventListener
    checkpoint_every: int = 1  # epochs from one saved state to the next

    def finished(
        self, name: Stage, num_epochs: int, *, check: Callable[[Checkpoint], None] = lambda _: None
    ) -> Checkpoint | None:
        """Load the finished stage's checkpoint and announce it; None where there is none.

        `check` raises if the checkpoint is not of this run.

        Raises:
            CheckpointError: It cannot be read.
        """
        checkpoint = self.runs.load(name)
        if checkpoint is None:
            return None
        check(checkpoint)
        self.runs.discard(state_name(name))
        self.listener(StageStarted(name, num_epochs + 1, num_epochs))
        self.listener(StageFinished(name))
        return checkpoint

    def train(self, stage: TrainingStage) -> dict[str, float]:
        """Train to the last epoch.

        Returns:
            Mean loss terms of the last epoch.

        Raises:
            CheckpointError: The last two states are damaged, or a state cannot be written.
            ConfigurationError: A loss or weight is not finite, or memory ran out.
        """
        saved, losses = self._restore(stage)
        self.listener(StageStarted(stage.name, saved + 1, stage.num_epochs))
        for epoch in range(saved + 1, stage.num_epochs + 1):
            try:
                losses = self._train_epoch(stage, epoch)
                if epoch % self.checkpoint_every == 0 or epoch == stage.num_epochs:
                    self._save(stage, epoch=epoch, losses=losses)
                    saved = epoch
            except NotFiniteError as error:
                raise self._diverged(stage.name, where=error, saved=saved) from error
        self.listener(StageFinished(stage.name))
        return losses

    def finish(
        self,
        name: Stage,
        kind: str,
        tensors: Mapping[str, Tensor],
        *,
        header: Mapping[str, JsonValue],
        losses: Mapping[str, float],
    ) -> Checkpoint:
        """Save the finished stage's checkpoint in place of its state, and return it.

        Raises:
            CheckpointError: It cannot be written.
        """
        checkpoint = Checkpoint(tensors, _header(kind, **header, losses=dict(losses)))
        self.runs.save(name, checkpoint)
        self.runs.discard(state_name(name))
        return checkpoint

    def _train_epoch(self, stage: TrainingStage, epoch: int) -> dict[str, float]:
        rate = stage.learning_rate(epoch)
        stage.optimizer.set_learning_rate(rate)
        batches = stage.batches(epoch)
        losses = EpochLosses(epoch)
        for step, rows in enumerate(batches, start=1):
            losses.add(_train_step(stage, rows, epoch=epoch, step=step))
            self.listener(StepFinished(stage.name, epoch, step, len(batches), len(rows)))
        means = losses.means()
        self.listener(
            EpochFinished(
                stage=stage.name,
                epoch=epoch,
                num_epochs=stage.num_epochs,
                losses=means,
                learning_rate=rate,
                num_images=sum(len(rows) for rows in batches),
            )
        )
        return means

    def _diverged(self, name: Stage, *, where: object, saved: int) -> ConfigurationError:
        kept = "no checkpoint of this stage was saved before"
        if saved:
            place = self.runs.place_of(state_name(name))
            kept = f"the last good checkpoint is {place} of epoch {saved}"
        return ConfigurationError(
            f"the {name} stage diverged in {where}; {kept}; lower the stage's "
            "learning_rate and train again"
        )

    def _save(self, stage: TrainingStage, *, epoch: int, losses: dict[str, float]) -> None:
        tensors = stage.state() | stage.optimizer.state()
        # A finite loss can have an infinite gradient, which shows only in the next loss.
        broken = [name for name, tensor in tensors.items() if not bool(tensor.isfinite().all())]
        if broken:
            raise NotFiniteError(
                f"epoch {epoch}, at its last step or shortly before: {broken[0]} is not finite, "
                f"with mean losses {in_words(losses)}"
            )
        header = _header(STATE_FORMAT, epoch=epoch, losses=dict(losses))
        self.runs.save(state_name(stage.name), Checkpoint(tensors, header), keep_previous=True)
        self.listener(CheckpointSaved(state_name(stage.name), epoch))

    def _restore(self, stage: TrainingStage) -> tuple[int, dict[str, float]]:
        """Load the last intact state; returns its epoch, 0 where there is none, and its losses."""
        checkpoint, epoch = self._last_intact(stage)
        if checkpoint is None:
            return 0, {}
        tensors = checkpoint.tensors
        own = {name: tensors[name] for name in tensors if not name.startswith(STATE_PREFIX)}
        stage.load_state(own)
        stage.optimizer.load_state(tensors)
        losses = checkpoint.header.get("losses")
        known = losses if isinstance(losses, dict) else {}
        return epoch, {name: value for name, value in known.items() if isinstance(value, float)}

    def _last_intact(self, stage: TrainingStage) -> tuple[Checkpoint | None, int]:
        """Find the last intact state and its epoch, which replaces a damaged one."""
        name = state_name(stage.name)
        damage: CheckpointError | None = None
        try:
            newest = self.runs.load(name)
            epoch = self._epoch_of(newest, stage)
        except CheckpointError as error:
            newest, damage = None, error
        if newest is not None:
            return newest, epoch
        before = self.runs.load_previous(name)
        epoch = self._epoch_of(before, stage)
        if before is not None:
            self.listener(CheckpointDamaged(name, epoch))
            # The damaged state must not become the previous one of the next save.
            self.runs.save(name, before)
        elif damage is not None:
            raise damage
        return before, epoch

    def _epoch_of(self, state: Checkpoint | None, stage: TrainingStage) -> int:
        """Return after which epoch an intact state was saved, if it is not of another training."""
        if state is None:
            return 0
        place, kind = self.runs.place_of(state_name(stage.name)), state.header.get("format")
        if kind != STATE_FORMAT:
            raise CheckpointError(
                f"{place} should hold the state of a training ({STATE_FORMAT}), but holds {kind!r}:"
                f" {WAY_OUT}"
            )
        found, expected = _shapes(state.tensors), _shapes(stage.state())
        for name in sorted(found.keys() | expected.keys()):
            there, here = found.get(name, "missing"), expected.get(name, "missing")
            if there != here and not name.startswith(STATE_PREFIX):
                raise CheckpointError(
                    f"{place} is of another training: {name} is {there} there and {here} here; "
                    f"{WAY_OUT}"
                )
        epoch = state.header.get("epoch")
        if not isinstance(epoch, int) or not 1 <= epoch <= stage.num_epochs:
            raise CheckpointError(
                f"{place} says epoch {epoch!r}, but the stage has {stage.num_epochs}: {WAY_OUT}"
            )
        return epoch


def state_name(stage: Stage) -> str:
    """Name the checkpoint from which an interrupted stage resumes."""
    return f"{stage}-state"


def _header(kind: str, **facts: JsonValue) -> dict[str, JsonValue]:
    return {"format": kind, "version": CHECKPOINT_VERSION, **facts}


def _train_step(stage: TrainingStage, rows: Tensor, *, epoch: int, step: int) -> Objective:
    place = f"in the {stage.name} stage, epoch {epoch}, step {step}, {len(rows)} images"
    with explain_out_of_memory(stage.batch_settings, during=place):
        objective = stage.objective(rows, epoch=epoch, step=step)
        stage.optimizer.zero_grad()
        objective.total.backward()  # type: ignore[no-untyped-call]  # torch has no stub for it
        stage.optimizer.step()
        stage.after_step()
    return objective


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    return {name: str(tuple(tensor.shape)) for name, tensor in tensors.items()}
