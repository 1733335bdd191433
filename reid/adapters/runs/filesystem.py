"""A run as a folder: `run.json`, checkpoints as safetensors, reports as JSON."""

import json
from collections.abc import Mapping
from pathlib import Path

from reid.adapters.safetensors_file import read_checkpoint, replace_file, write_checkpoint
from reid.domain.errors import CheckpointError
from reid.domain.values.checkpoints import Checkpoint, JsonValue
from reid.ports.runs import RunMode

MANIFEST = "run.json"
MANIFEST_VERSION = 1
METRICS = "metrics.jsonl"
RUN_FILES = (
    MANIFEST,
    METRICS,
    "evaluation.json",
    "evaluation.queries.json",
    "evaluation-*.json",
    "demo.json",
    "prompts-state.safetensors",
    "prompts.safetensors",
    "encoder-state.safetensors",
    "encoder.safetensors",
)
"""All that runs write; `*` stands for anything."""


class FilesystemRunStore:
    """Keeps one run in one folder."""

    def __init__(self, directory: Path) -> None:
        """Keep the folder's name; nothing is touched yet."""
        self._directory = directory

    @property
    def place(self) -> str:
        """The folder's path."""
        return str(self._directory)

    def begin(
        self,
        decisive: Mapping[str, JsonValue],
        circumstances: Mapping[str, JsonValue],
        *,
        mode: RunMode,
    ) -> None:
        """Write `run.json` into a fresh folder, or compare with the one that is there."""
        recorded: dict[str, JsonValue] = {}
        if mode is RunMode.GO_ON:
            recorded = self._compared(decisive)
        else:
            self._clear(may_delete=mode is RunMode.REPLACE)
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CheckpointError(f"{self._directory} cannot be made: {error.strerror}") from error
        self.record(
            Path(MANIFEST).stem,
            {
                "version": MANIFEST_VERSION,
                "decisive": recorded | dict(decisive),
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
        replace_file(self._directory / f"{name}.json", to_json(report).encode())

    def _clear(self, *, may_delete: bool) -> None:
        """Delete what runs write, and nothing else that lies beside it."""
        left = [path for name in RUN_FILES for path in sorted(self._directory.glob(name))]
        if left and not may_delete:
            raise CheckpointError(
                f"{self._directory} holds a run already ({left[0].name}); go on with it by "
                "--resume, replace it by --overwrite, or name another folder by --run"
            )
        for path in left:
            path.unlink()

    def _checkpoint(self, name: str) -> Path:
        return self._directory / f"{name}.safetensors"

    def _compared(self, decisive: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
        recorded = self._read_decisive(self._directory / MANIFEST)
        # Through JSON, so that tuples and lists compare equal.
        present = json.loads(json.dumps(dict(decisive)))
        differing = sorted(
            key for key in recorded.keys() & present.keys() if recorded[key] != present[key]
        )
        if differing:
            lines = [
                f"  {key}: {json.dumps(recorded[key])} then, {json.dumps(present[key])} now"
                for key in differing
            ]
            raise CheckpointError(
                f"the run in {self._directory} was begun with other settings; give the same ones, "
                "or begin another run by --run (from this one's prompts by --stage encoder "
                "--prompts):\n" + "\n".join(lines)
            )
        return recorded

    def _read_decisive(self, manifest: Path) -> dict[str, JsonValue]:
        try:
            content = json.loads(manifest.read_text())
            decisive: dict[str, JsonValue] = dict(content["decisive"].items())
        except FileNotFoundError as error:
            raise CheckpointError(
                f"{self._directory} holds no run to go on with; begin one there first"
            ) from error
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{manifest} cannot be read: {error}") from error
        return decisive


def to_json(report: Mapping[str, JsonValue]) -> str:
    """Write an object as JSON with an entry per line: readable, and short where lists are long."""
    entries = [
        f"  {json.dumps(key)}: {json.dumps(report[key], sort_keys=True)}" for key in sorted(report)
    ]
    return "{\n" + ",\n".join(entries) + "\n}\n"
