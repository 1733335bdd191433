"""What finished runs left in writing, without their weights."""

from collections.abc import Mapping
from typing import Any, Protocol


class RunRecords(Protocol):
    """One run's small records, read only."""

    @property
    def name(self) -> str:
        """What the run is called, without where it lies."""
        ...

    @property
    def place(self) -> str:
        """Where the run is, for messages."""
        ...

    def names(self) -> tuple[str, ...]:
        """Name the reports that there are, in alphabetical order, the run's manifest not."""
        ...

    def manifest(self) -> Mapping[str, Any] | None:
        """Return what the run was begun with: `fingerprint` and `environment`, both mappings.

        None where no run was begun there.

        Raises:
            CheckpointError: It is there but damaged.
        """
        ...

    def report(self, name: str) -> Mapping[str, Any] | None:
        """Return a report, or None where there is none of that name.

        Raises:
            CheckpointError: It is there but damaged.
        """
        ...

    def progress(self) -> tuple[Mapping[str, Any], ...]:
        """Return what was logged of the training, oldest first; empty where nothing was.

        Raises:
            CheckpointError: The log is damaged.
        """
        ...
