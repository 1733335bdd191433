"""Records of finished runs, without their weights."""

from collections.abc import Mapping
from typing import Any, Protocol


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
