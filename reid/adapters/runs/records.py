"""A run's small files, read only: `run.json`, its reports and `metrics.jsonl`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reid.adapters.runs.filesystem import MANIFEST, METRICS
from reid.domain.errors import CheckpointError


class FilesystemRunRecords:
    """Reads what one run's folder says; the weights may be missing."""

    def __init__(self, directory: Path) -> None:
        """Keep the folder's name; nothing is read yet."""
        self._directory = directory

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self._directory.resolve().name

    @property
    def place(self) -> str:
        """The folder's path."""
        return str(self._directory)

    def names(self) -> tuple[str, ...]:
        """List the JSON files but the manifest, without their endings."""
        files = self._directory.glob("*.json")
        return tuple(sorted(path.stem for path in files if path.name != MANIFEST))

    def manifest(self) -> Mapping[str, Any] | None:
        """Read `run.json` where it exists."""
        path = self._directory / MANIFEST
        content = self._read(path)
        if content is None:
            return None
        parts = (content.get(part) for part in ("decisive", "circumstances"))
        if not all(isinstance(part, dict) for part in parts):
            raise CheckpointError(f"{path} cannot be read: it is not the manifest of a run")
        return content

    def report(self, name: str) -> Mapping[str, Any] | None:
        """Read `<name>.json` where it exists."""
        return self._read(self._directory / f"{name}.json")

    def progress(self) -> tuple[Mapping[str, Any], ...]:
        """Read `metrics.jsonl` where it exists."""
        path = self._directory / METRICS
        try:
            lines = [json.loads(line) for line in path.read_text().splitlines()]
        except FileNotFoundError:
            return ()
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path} cannot be read: {error}") from error
        if not all(isinstance(line, dict) for line in lines):
            raise CheckpointError(f"{path} cannot be read: a line is not an object")
        return tuple(lines)

    def _read(self, path: Path) -> dict[str, Any] | None:
        try:
            content = json.loads(path.read_text())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path} cannot be read: {error}") from error
        if not isinstance(content, dict):
            raise CheckpointError(f"{path} cannot be read: it is not an object")
        return content
