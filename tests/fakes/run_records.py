"""Records of a run, kept in memory."""

from collections.abc import Mapping, Sequence
from typing import Any

from tests.fakes.run_store import FakeRunStore


class FakeRunRecords:
    """Reads what a fake store keeps, or what it is given."""

    def __init__(
        self,
        name: str = "fake",
        *,
        reports: Mapping[str, Mapping[str, Any]] | None = None,
        manifest: Mapping[str, Any] | None = None,
        progress: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        self._name = name
        self.reports = dict(reports or {})
        self._manifest = manifest
        self._progress = tuple(progress)

    @classmethod
    def of(cls, store: FakeRunStore, name: str = "fake") -> "FakeRunRecords":
        run = store.records.get("run", {})
        return cls(
            name,
            reports={key: report for key, report in store.records.items() if key != "run"},
            manifest=None
            if store.fingerprint is None
            else {**run, "fingerprint": store.fingerprint},
        )

    @property
    def name(self) -> str:
        return self._name

    @property
    def place(self) -> str:
        return f"memory/{self._name}"

    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self.reports))

    def manifest(self) -> Mapping[str, Any] | None:
        return self._manifest

    def report(self, name: str) -> Mapping[str, Any] | None:
        return self.reports.get(name)

    def progress(self) -> tuple[Mapping[str, Any], ...]:
        return self._progress
