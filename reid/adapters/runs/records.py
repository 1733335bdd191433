"""A run's small files, read only: `run.json`, its reports and `metrics.jsonl`."""

import gzip
import json
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from reid.adapters.atomic_files import cannot_be_made, replace_file
from reid.domain.errors import CheckpointError
from reid.domain.values.checkpoints import JsonValue, require_known_version
from reid.domain.values.evaluations import EVALUATION, QUERIES_SUFFIX
from reid.ports.runs import RunRecords
from reid.small_files import MOST_RECORD_BYTES, parse_json, read_bounded

MANIFEST = "run.json"
MANIFEST_VERSION = 1
METRICS = "metrics.jsonl"
CARD = "card.md"

_SHORT = ".json.gz"


class FilesystemRunRecords:
    """Reads the small files of one run's folder; the weights may be missing."""

    def __init__(self, directory: Path) -> None:
        """Keep the folder's name; nothing is read yet."""
        self.place = str(directory)
        self._directory = directory

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self._directory.resolve().name

    def names(self) -> tuple[str, ...]:
        """List the JSON files, compressed or not, without endings and without the manifest."""
        files = [*self._directory.glob("*.json"), *self._directory.glob(f"*{_SHORT}")]
        names = {path.name.removesuffix(".gz").removesuffix(".json") for path in files}
        return tuple(sorted(names - {Path(MANIFEST).stem}))

    def manifest(self) -> Mapping[str, Any] | None:
        """Read `run.json` where it exists; see the port."""
        path = self._directory / MANIFEST
        content = self._read(path)
        if content is None:
            return None
        parts = (content.get(part) for part in ("fingerprint", "environment"))
        if not all(isinstance(part, dict) for part in parts):
            raise CheckpointError(f"{path} cannot be read: it is not the manifest of a run")
        require_known_version(content.get("version"), known=MANIFEST_VERSION, place=str(path))
        return content

    def report(self, name: str) -> Mapping[str, Any] | None:
        """Read `<name>.json`, or else `<name>.json.gz`, where it exists; see the port."""
        content = self._read(self._directory / f"{name}.json")
        return content if content is not None else self._read(self._directory / f"{name}{_SHORT}")

    def progress(self) -> tuple[Mapping[str, Any], ...]:
        """Read `metrics.jsonl` where it exists; see the port."""
        path = self._directory / METRICS
        try:
            # A line without a line break is being written, or a killed process left it.
            text = read_bounded(path, most_bytes=MOST_RECORD_BYTES).decode()
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
            content = parse_json(
                _decompressed(path)
                if path.suffix == ".gz"
                else read_bounded(path, most_bytes=MOST_RECORD_BYTES).decode()
            )
        except FileNotFoundError:
            return None
        except (OSError, ValueError, zlib.error) as error:
            raise CheckpointError(f"{path} cannot be read: {error}") from error
        if not isinstance(content, dict):
            raise CheckpointError(f"{path} cannot be read: it is not an object")
        return content


def collect_records(records: RunRecords, folder: Path) -> None:
    """Copy a run's records without weights into a folder, for version control.

    Only the last part of absolute paths is kept. The results of each query are compressed:
    otherwise twenty runs on Market-1501 take 5 MB.

    Raises:
        CheckpointError: The records are damaged, or the folder cannot be written.
    """
    if folder.resolve() == Path(records.place).resolve():
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_be_made(folder, error) from error
    replace_file(folder / MANIFEST, _kept(records.manifest()))
    for name in records.names():
        if name.partition("-")[0].partition(".")[0] != EVALUATION:
            continue
        plain, content = folder / f"{name}.json", _kept(records.report(name))
        if name.endswith(QUERIES_SUFFIX):
            replace_file(folder / f"{name}{_SHORT}", gzip.compress(content, mtime=0))
            plain.unlink(missing_ok=True)
        else:
            replace_file(plain, content)
    lines = [json.dumps(_without_folders(line)) + "\n" for line in records.progress()]
    replace_file(folder / METRICS, "".join(lines).encode())


def to_json(report: Mapping[str, JsonValue]) -> str:
    """Write an object as JSON with an entry per line."""
    entries = [
        f"  {json.dumps(key)}: {json.dumps(report[key], sort_keys=True)}" for key in sorted(report)
    ]
    return "{\n" + ",\n".join(entries) + "\n}\n"


def _kept(content: Mapping[str, Any] | None) -> bytes:
    return to_json(_without_folders(content)).encode()


def _decompressed(path: Path) -> bytes:
    decompressor = zlib.decompressobj(zlib.MAX_WBITS | 16)
    short = read_bounded(path, most_bytes=MOST_RECORD_BYTES)
    content = decompressor.decompress(short, MOST_RECORD_BYTES)
    if not decompressor.eof:
        raise ValueError("it is cut short, or unpacks to more than any record")
    return content


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
