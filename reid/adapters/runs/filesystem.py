"""A run as a folder: `run.json`, checkpoints as safetensors, reports as JSON.

Every file is replaced in one step. The last two states of a stage are kept until it ends, so that a
damaged one costs an epoch and not the stage.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from reid.adapters.atomic_files import cannot_be_made, cannot_be_written, replace_file, sync_folder
from reid.adapters.runs.locking import FolderLock
from reid.adapters.runs.records import (
    CARD,
    MANIFEST,
    MANIFEST_VERSION,
    METRICS,
    FilesystemRunRecords,
    to_json,
)
from reid.adapters.safetensors_file import read_checkpoint, write_checkpoint
from reid.domain.errors import CheckpointError
from reid.domain.values.checkpoints import (
    CHECKPOINT_VERSION,
    Checkpoint,
    JsonValue,
    require_known_version,
)
from reid.ports.runs import RunMode

_CHECKPOINTS = ("-state.safetensors", "-state.previous.safetensors", ".safetensors")
_TRAINED_FILES = (
    MANIFEST,
    METRICS,
    "demo.json",
    *(f"{stage}{ending}" for stage in ("prompts", "encoder") for ending in _CHECKPOINTS),
)
"""Written by the holder of the folder's lock only."""

_SCORED_FILES = (
    CARD,
    *(
        f"evaluation{name}.json{ending}"
        for name in ("", ".queries", "-*")
        for ending in ("", ".gz")
    ),
)
"""Written by evaluations, which take no lock."""

RUN_FILES = (*_TRAINED_FILES, *_SCORED_FILES)  # all files that runs write; `*` stands for anything


class FilesystemRunStore:
    """Keeps one run in one folder."""

    def __init__(self, directory: Path) -> None:
        """Keep the folder's name; nothing is touched yet."""
        self.place = str(directory)
        self._directory = directory
        self._lock = FolderLock(directory)

    def begin(
        self,
        fingerprint: Mapping[str, JsonValue],
        environment: Mapping[str, JsonValue],
        *,
        mode: RunMode,
    ) -> None:
        """Write `run.json` into a new folder, or compare it with the existing one."""
        was_held = self._lock.is_held
        goes_on = mode is RunMode.GO_ON
        if goes_on:
            # Before anything is made, so that no folder is left where there is no run.
            self._read_fingerprint()
        self._claim()
        try:
            recorded = self._compared(fingerprint) if goes_on else {}
            if not goes_on:
                self._clear(may_delete=mode is RunMode.REPLACE)
            self._clear_half_written()
            manifest: dict[str, JsonValue] = {
                "version": MANIFEST_VERSION,
                "fingerprint": recorded | dict(fingerprint),
                "environment": dict(environment),
            }
            self.record(Path(MANIFEST).stem, manifest)
        except CheckpointError:
            if not was_held:
                self.release()
            raise

    def release(self) -> None:
        """Release the lock on the folder."""
        self._lock.release()

    def place_of(self, name: str) -> str:
        """The path of `<name>.safetensors`."""
        return str(self._checkpoint(name))

    def save(self, name: str, checkpoint: Checkpoint, *, keep_previous: bool = False) -> None:
        """Write `<name>.safetensors`; the replaced one becomes `<name>.previous.safetensors`."""
        path = self._checkpoint(name)
        if keep_previous and path.exists():
            _keep_as(path, self._checkpoint(_previous(name)))
        write_checkpoint(path, checkpoint)

    def load(self, name: str) -> Checkpoint | None:
        """Read `<name>.safetensors` where it exists."""
        path = self._checkpoint(name)
        if not path.exists():
            return None
        checkpoint = read_checkpoint(path)
        version = checkpoint.header.get("version", CHECKPOINT_VERSION)
        require_known_version(version, known=CHECKPOINT_VERSION, place=str(path))
        return checkpoint

    def load_previous(self, name: str) -> Checkpoint | None:
        """Read `<name>.previous.safetensors` where it exists."""
        return self.load(_previous(name))

    def discard(self, name: str) -> None:
        """Delete `<name>.safetensors` and the one before it where they exist."""
        # The older one first: a crash in between must not make it the newest.
        for each in (_previous(name), name):
            _delete(self._checkpoint(each))

    def record(self, name: str, report: Mapping[str, JsonValue]) -> None:
        """Write `<name>.json`."""
        replace_file(self._directory / f"{name}.json", to_json(report).encode())

    def _claim(self) -> None:
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_be_made(self._directory, error) from error
        try:
            self._lock.take()
            sync_folder(self._directory.parent)
        except OSError as error:
            raise cannot_be_written(self._directory, error) from error

    def _clear(self, *, may_delete: bool) -> None:
        left = [path for name in RUN_FILES for path in sorted(self._directory.glob(name))]
        if left and not may_delete:
            raise CheckpointError(
                f"{self._directory} holds a run already ({left[0].name}): resume it, overwrite it, "
                "or name another run.directory"
            )
        for path in left:
            _delete(path)

    def _clear_half_written(self) -> None:
        """Delete temporary files of killed processes: `.NAME.PROCESS.tmp`."""
        for name in RUN_FILES:
            for path in self._directory.glob(f".{name}.*.tmp"):
                if name in _TRAINED_FILES or not _is_at_work(path.name.split(".")[-2]):
                    _delete(path)

    def _checkpoint(self, name: str) -> Path:
        return self._directory / f"{name}.safetensors"

    def _compared(self, fingerprint: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
        recorded = self._read_fingerprint()
        # Through JSON, so that tuples and lists compare equal.
        present = json.loads(json.dumps(dict(fingerprint)))
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
                "or begin another run in another run.directory (the encoder's stage can start from "
                "this one's prompts by run.prompts):\n" + "\n".join(lines)
            )
        return recorded

    def _read_fingerprint(self) -> dict[str, JsonValue]:
        content = FilesystemRunRecords(self._directory).manifest()
        if content is None:
            raise CheckpointError(
                f"{self._directory} holds no run to go on with; begin one there first"
            )
        return dict(content["fingerprint"])


def _previous(name: str) -> str:
    return f"{name}.previous"


def _keep_as(path: Path, other: Path) -> None:
    """Give a file a second name, which it keeps when the first is replaced."""
    spare = other.with_name(f".{other.name}.{os.getpid()}.tmp")
    try:
        spare.unlink(missing_ok=True)
        try:
            os.link(path, spare)
        except (PermissionError, NotImplementedError):
            # No second names on this file system: the first is missing for a moment.
            path.replace(other)
        else:
            spare.replace(other)
            # Renaming does nothing where both are names of one file.
            spare.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_be_written(other, error) from error


def _delete(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_be_written(path, error) from error


def _is_at_work(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, ValueError, OverflowError):
        return False
    except PermissionError:  # it is another user's
        return True
    return True
