"""A run's small files, read only: `run.json`, its reports and `metrics.jsonl`."""

import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from reid.adapters.atomic_files import cannot_be_made, replace_file
from reid.adapters.runs.filesystem import MANIFEST, MANIFEST_VERSION, METRICS, to_json
from reid.adapters.runs.packing import PACKED, pack_queries, unpack_queries
from reid.domain.errors import CheckpointError
from reid.domain.values.checkpoints import require_known_version
from reid.domain.values.evaluations import EVALUATION, QUERIES_SUFFIX
from reid.ports.records import RunRecords
from reid.small_files import MOST_RECORD_BYTES, parse_json, read_bounded


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
        """Read `run.json` where it exists; see the port."""
        path = self._directory / MANIFEST
        content = self._read(path)
        if content is None:
            return None
        require_known_version(content.get("version"), known=MANIFEST_VERSION, place=str(path))
        parts = (content.get(part) for part in ("decisive", "circumstances"))
        if not all(isinstance(part, dict) for part in parts):
            raise CheckpointError(f"{path} cannot be read: it is not the manifest of a run")
        return content

    def report(self, name: str) -> Mapping[str, Any] | None:
        """Read `<name>.json` where it exists, packed or not; see the port."""
        path = self._directory / f"{name}.json"
        content = self._read(path)
        if content is None or PACKED not in content:
            return content
        try:
            return unpack_queries(content)
        except ValueError as error:
            raise CheckpointError(f"{path} cannot be read: {error}") from error

    def progress(self) -> tuple[Mapping[str, Any], ...]:
        """Read `metrics.jsonl` where it exists; see the port."""
        path = self._directory / METRICS
        try:
            # What follows the last line break is being written, or a killed process left it.
            text = read_bounded(path, most_bytes=MOST_RECORD_BYTES)
            lines = [parse_json(line) for line in text.rpartition("\n")[0].splitlines()]
        except FileNotFoundError:
            return ()
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path} cannot be read: {error}") from error
        if not all(isinstance(line, dict) for line in lines):
            raise CheckpointError(f"{path} cannot be read: a line is not an object")
        return tuple(lines)

    def _read(self, path: Path) -> dict[str, Any] | None:
        try:
            content = parse_json(read_bounded(path, most_bytes=MOST_RECORD_BYTES))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path} cannot be read: {error}") from error
        if not isinstance(content, dict):
            raise CheckpointError(f"{path} cannot be read: it is not an object")
        return content


def collect_records(records: RunRecords, folder: Path, *, is_short: bool = False) -> None:
    """Copy what a run wrote about itself, without weights, for keeping under version control.

    Of absolute paths only the last part is kept: others have other folders.

    Args:
        records: What to copy.
        folder: Where to; made if missing.
        is_short: Pack how each query fared, which is nearly all there is; nothing is lost.

    Raises:
        CheckpointError: The records are damaged, or the folder cannot be written.
    """
    if folder.resolve() == Path(records.place).resolve():
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_be_made(folder, error) from error
    kept = {MANIFEST: records.manifest()}
    for name in records.names():
        if name.partition("-")[0].partition(".")[0] == EVALUATION:
            kept[f"{name}.json"] = records.report(name)
    if is_short:
        packing = (name for name in kept if name.endswith(f"{QUERIES_SUFFIX}.json"))
        kept.update({name: pack_queries(kept[name] or {}) for name in packing})
    for file, content in kept.items():
        replace_file(folder / file, to_json(_without_folders(content)).encode())
    lines = [json.dumps(_without_folders(line)) + "\n" for line in records.progress()]
    replace_file(folder / METRICS, "".join(lines).encode())


def _without_folders(value: Any) -> Any:  # noqa: ANN401  (whatever JSON can hold)
    if isinstance(value, Mapping):
        return {name: _without_folders(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_without_folders(entry) for entry in value]
    if isinstance(value, str):
        for kind in (PurePosixPath, PureWindowsPath):
            if kind(value).is_absolute():
                return kind(value).name
    return value
