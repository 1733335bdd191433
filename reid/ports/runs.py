"""Where a training run keeps what it makes."""

from collections.abc import Mapping
from enum import Enum
from typing import Protocol

from reid.domain.values.checkpoints import Checkpoint, JsonValue


class RunMode(Enum):
    """What `begin` makes of a place."""

    NEW = "new"
    """Nothing of a run may be there."""

    REPLACE = "replace"
    """What is there of an earlier run is dropped."""

    GO_ON = "go on"
    """A run with the same fingerprint values must be there."""


class RunStore(Protocol):
    """One run's checkpoints and records, each replaced as a whole or not at all."""

    @property
    def place(self) -> str:
        """Where this is, for messages and to tell one store from another."""
        ...

    def begin(
        self,
        fingerprint: Mapping[str, JsonValue],
        environment: Mapping[str, JsonValue],
        *,
        mode: RunMode,
    ) -> None:
        """Claim the place for a new run, or take an earlier one up again.

        Args:
            fingerprint: What decides the run's result: settings, seed, dataset digest. A run that
                is taken up keeps what it recorded, and what it did not know yet is added.
            environment: What is worth knowing beside it: versions, machine, command.
            mode: Whether a run is wanted there, and what becomes of it.

        Raises:
            CheckpointError: NEW where something of a run is there already; GO_ON where no run is,
                or one with other fingerprint values, which are named; another training is at work
                there; the place cannot be written.
        """
        ...

    def release(self) -> None:
        """Let other trainings have the place that `begin` claimed; reading needs no claim."""
        ...

    def place_of(self, name: str) -> str:
        """Where a checkpoint of that name is kept, for messages."""
        ...

    def save(self, name: str, checkpoint: Checkpoint, *, keep_previous: bool = False) -> None:
        """Keep a checkpoint under a name, replacing the last one of that name.

        Args:
            name: Of the checkpoint.
            checkpoint: What to keep.
            keep_previous: Keep the replaced one for `load_previous`, and let the one before go.

        Raises:
            CheckpointError: It cannot be written; what was there before is there still.
        """
        ...

    def load(self, name: str) -> Checkpoint | None:
        """Return a checkpoint, or None where there is none of that name.

        Raises:
            CheckpointError: It is there but damaged.
        """
        ...

    def load_previous(self, name: str) -> Checkpoint | None:
        """Return the checkpoint that the last `save` with `keep_previous` replaced, if any.

        Raises:
            CheckpointError: It is there but damaged.
        """
        ...

    def discard(self, name: str) -> None:
        """Forget a checkpoint, and the one before it; nothing happens where there is none.

        Raises:
            CheckpointError: It cannot be deleted.
        """
        ...

    def record(self, name: str, report: Mapping[str, JsonValue]) -> None:
        """Keep a report under a name, replacing the last one of that name.

        Raises:
            CheckpointError: It cannot be written; what was there before is there still.
        """
        ...
