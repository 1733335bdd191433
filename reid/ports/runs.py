"""Where a training run keeps what it makes."""

from collections.abc import Mapping
from typing import Protocol

from reid.domain.values.checkpoints import Checkpoint, JsonValue


class RunStore(Protocol):
    """One run's checkpoints and records, each replaced as a whole or not at all."""

    def begin(
        self,
        decisive: Mapping[str, JsonValue],
        circumstances: Mapping[str, JsonValue],
        *,
        resume: bool,
    ) -> None:
        """Claim the place for a new run, or take an earlier one up again.

        Args:
            decisive: What decides the run's result: settings, seed, dataset digest.
            circumstances: What is worth knowing beside it: versions, machine, command.
            resume: True to go on with the run that is there.

        Raises:
            CheckpointError: A run is there already and `resume` is False; or `resume` is True and
                none is there, or one with other decisive values, which are named.
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
