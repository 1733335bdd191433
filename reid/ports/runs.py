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
    """A run with the same decisive values must be there."""


class RunStore(Protocol):
    """One run's checkpoints and records, each replaced as a whole or not at all."""

    @property
    def place(self) -> str:
        """Where this is, for messages and to tell one store from another."""
        ...

    def begin(
        self,
        decisive: Mapping[str, JsonValue],
        circumstances: Mapping[str, JsonValue],
        *,
        mode: RunMode,
    ) -> None:
        """Claim the place for a new run, or take an earlier one up again.

        Args:
            decisive: What decides the run's result: settings, seed, dataset digest. A run that is
                taken up keeps what it recorded, and what it did not know yet is added.
            circumstances: What is worth knowing beside it: versions, machine, command.
            mode: Whether a run is wanted there, and what becomes of it.

        Raises:
            CheckpointError: NEW where something of a run is there already; GO_ON where no run is,
                or one with other decisive values, which are named.
        """
        ...

    def save(self, name: str, checkpoint: Checkpoint) -> None:
        """Keep a checkpoint under a name, replacing the last one of that name."""
        ...

    def load(self, name: str) -> Checkpoint | None:
        """Return a checkpoint, or None where there is none of that name.

        Raises:
            CheckpointError: It is there but damaged.
        """
        ...

    def discard(self, name: str) -> None:
        """Forget a checkpoint that is no longer needed; nothing happens where there is none."""
        ...

    def record(self, name: str, report: Mapping[str, JsonValue]) -> None:
        """Keep a report under a name, replacing the last one of that name."""
        ...
