"""A run as a folder: `run.json`, checkpoints as safetensors, reports as JSON."""

import json
from collections.abc import Mapping
from pathlib import Path

from reid.adapters.safetensors_file import read_checkpoint, replace_file, write_checkpoint
from reid.domain.errors import CheckpointError
from reid.domain.values.checkpoints import Checkpoint, JsonValue

MANIFEST = "run.json"
MANIFEST_VERSION = 1


class FilesystemRunStore:
    """Keeps one run in one folder."""

    def __init__(self, directory: Path, *, overwrite: bool = False) -> None:
        """Keep the folder's name; nothing is touched yet.

        Args:
            directory: Made by `begin` where it is missing.
            overwrite: Let `begin` replace an earlier run instead of refusing.
        """
        self._directory = directory
        self._overwrite = overwrite

    def begin(
        self,
        decisive: Mapping[str, JsonValue],
        circumstances: Mapping[str, JsonValue],
        *,
        resume: bool,
    ) -> None:
        """Write `run.json` into a fresh folder, or compare with the one that is there."""
        manifest = self._directory / MANIFEST
        if resume:
            self._compare(manifest, decisive)
            return
        if manifest.exists():
            self._clear()
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CheckpointError(f"{self._directory} cannot be made: {error.strerror}") from error
        self.record(
            manifest.stem,
            {
                "version": MANIFEST_VERSION,
                "decisive": dict(decisive),
                "circumstances": dict(circumstances),
            },
        )

    def save(self, name: str, checkpoint: Checkpoint) -> None:
        """Write `<name>.safetensors`."""
        write_checkpoint(self._checkpoint(name), checkpoint)

    def load(self, name: str) -> Checkpoint | None:
        """Read `<name>.safetensors` where it exists."""
        path = self._checkpoint(name)
        return read_checkpoint(path) if path.exists() else None

    def discard(self, name: str) -> None:
        """Delete `<name>.safetensors` where it exists."""
        self._checkpoint(name).unlink(missing_ok=True)

    def record(self, name: str, report: Mapping[str, JsonValue]) -> None:
        """Write `<name>.json`."""
        text = json.dumps(dict(report), indent=2, sort_keys=True) + "\n"
        replace_file(self._directory / f"{name}.json", text.encode())

    def _clear(self) -> None:
        """Delete what earlier runs wrote, and nothing else that lies beside it."""
        if not self._overwrite:
            raise CheckpointError(
                f"{self._directory} holds a run already; go on with it by --resume, replace it by "
                "--overwrite, or name another folder by --run"
            )
        for pattern in ("*.safetensors", "*.json", "*.jsonl"):
            for path in self._directory.glob(pattern):
                path.unlink()

    def _checkpoint(self, name: str) -> Path:
        return self._directory / f"{name}.safetensors"

    def _compare(self, manifest: Path, decisive: Mapping[str, JsonValue]) -> None:
        recorded = self._read_decisive(manifest)
        # Through JSON, so that tuples and lists compare equal.
        present = json.loads(json.dumps(dict(decisive)))
        differing = sorted(
            key for key in recorded.keys() | present.keys() if recorded.get(key) != present.get(key)
        )
        if differing:
            lines = [
                f"  {key}: {json.dumps(recorded.get(key))} then, {json.dumps(present.get(key))} now"
                for key in differing
            ]
            raise CheckpointError(
                f"the run in {self._directory} was begun with other settings; give the same ones, "
                "or begin another run by --run:\n" + "\n".join(lines)
            )

    def _read_decisive(self, manifest: Path) -> dict[str, JsonValue]:
        try:
            content = json.loads(manifest.read_text())
            decisive: dict[str, JsonValue] = content["decisive"]
        except FileNotFoundError as error:
            raise CheckpointError(
                f"{self._directory} holds no run to go on with; begin one without --resume"
            ) from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{manifest} cannot be read: {error}") from error
        return decisive
