"""What a training run leaves: checkpoints and records to write, and records to read."""

from collections.abc import Mapping
from enum import Enum
from typing import Any, Protocol

from reid.domain.values.checkpoints import Checkpoint, JsonValue


class RunMode(Enum):
    """How `begin` treats a place."""

    NEW = "new"  # the place must hold no run
    REPLACE = "replace"  # an earlier run is discarded
    GO_ON = "go on"  # the place must hold a run with the same fingerprint


class RunStore(Protocol):
    """One run's checkpoints and records, each replaced as a whole or not at all."""

    @property
    def place(self) -> str:
        """Where this is, for messages and to distinguish stores."""

    def begin(
        self,
        fingerprint: Mapping[str, JsonValue],
        environment: Mapping[str, JsonValue],
        *,
        mode: RunMode,
    ) -> None:
        """Claim the place for a new run, or resume an earlier one.

        Args:
            fingerprint: What decides the run's result: settings, seed, dataset digest. A resumed
                run keeps its recorded values, and new ones are added.
            environment: Further facts: versions, machine, command.
            mode: How the place is treated.

        Raises:
            CheckpointError: NEW where there is something of a run; GO_ON where there is no run, or
                one with other fingerprint values, which are named; another training is at work
                there; the place cannot be written.
        """

    def release(self) -> None:
        """Release the place that `begin` claimed; reading needs no claim."""

    def place_of(self, name: str) -> str:
        """Where a checkpoint of that name is kept, for messages."""

    def save(self, name: str, checkpoint: Checkpoint, *, keep_previous: bool = False) -> None:
        """Keep a checkpoint under a name, replacing the last one of that name.

        Args:
            name: Of the checkpoint.
            checkpoint: What to keep.
            keep_previous: Keep the replaced one, and only that, for `load_previous`.

        Raises:
            CheckpointError: It cannot be written; what was there before is unchanged.
        """

    def load(self, name: str) -> Checkpoint | None:
        """Return a checkpoint, or None where there is none of that name.

        Raises:
            CheckpointError: It is there but damaged.
        """

    def load_previous(self, name: str) -> Checkpoint | None:
        """Return the checkpoint that the last `save` with `keep_previous` replaced, if any.

        Raises:
            CheckpointError: It is there but damaged.
        """

    def discard(self, name: str) -> None:
        """Delete a checkpoint and its previous one; does nothing where there is none.

        Raises:
            CheckpointError: It cannot be deleted.
        """

    def record(self, name: str, report: Mapping[str, JsonValue]) -> None:
        """Keep a report under a name, replacing the last one of that name.

        Raises:
            CheckpointError: It cannot be written; what was there before is there still.
        """


class RunRecords(Protocol):
    """One run's small records, read only.

    What reads one raises a CheckpointError where it is damaged.
    """

    @property
    def name(self) -> str:
        """Name of the run, without its folder."""

    @property
    def place(self) -> str:
        """Where the run is, for messages."""

    def names(self) -> tuple[str, ...]:
        """Name the reports in alphabetical order, without the run's manifest."""

    def manifest(self) -> Mapping[str, Any] | None:
        """Return the run's `fingerprint` and `environment`, both mappings; None without a run."""

    def report(self, name: str) -> Mapping[str, Any] | None:
        """Return a report; None where there is none of that name."""

    def progress(self) -> tuple[Mapping[str, Any], ...]:
        """Return the training's log, oldest first; empty where there is none."""
