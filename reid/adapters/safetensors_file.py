"""Checkpoints as safetensors files with a JSON header, written as a whole or not at all.

A file carries a digest of its header and tensors, so that damage is found when it is read.
"""

import json
from collections.abc import Mapping
from hashlib import blake2b
from math import prod
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from reid.adapters.atomic_files import replace_file
from reid.domain.errors import CheckpointError
from reid.domain.values.checkpoints import Checkpoint, digest_of
from reid.domain.values.json_values import JsonValue
from reid.small_files import parse_json

HEADER_KEY = "reid"
"""The only entry of a file's metadata: safetensors writes several in random order, and the same
checkpoint must give the same bytes."""

_DIGEST_KEY = "content_digest"  # entry of the header with the digest of its rest and the tensors

# torch raises RuntimeError where the file is gone before it is opened for the tensors.
_UNREADABLE = (SafetensorError, OSError, ValueError, RuntimeError)

_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")

_MOST_READINGS = 100  # no file is replaced so often while it is read


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a file that `write_checkpoint` wrote.

    Raises:
        CheckpointError: The file is missing, damaged, or without our header.
    """
    require_file(path)
    try:
        tensors, header = read_safetensors(path)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} does not exist") from error
    except _UNREADABLE as error:
        raise CheckpointError(
            f"{path} cannot be read as a checkpoint: {error}; it is damaged: bring it back from a "
            "copy, or remove it and make it again"
        ) from error
    if header is None:
        raise CheckpointError(
            f"{path} is a safetensors file, but reid did not write it: it has no header"
        )
    return Checkpoint(tensors=tensors, header=header)


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, JsonValue] | None]:
    """Read all tensors and our header, compared with its digest; None where it is not ours.

    safetensors opens a file once for the header and again for the tensors, so a reader during a
    training can get the header of one state and the tensors of the next. A file that was replaced
    meanwhile is read again.

    Raises:
        SafetensorError, OSError, ValueError or RuntimeError: The file is missing or damaged.
    """
    for _ in range(_MOST_READINGS - 1):
        before = _identity_of(path)
        try:
            content = _read(path)
        except _UNREADABLE:
            if _identity_of(path) == before:
                raise
        else:
            if _identity_of(path) == before:
                return content
    return _read(path)


def _identity_of(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, JsonValue] | None]:
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if HEADER_KEY not in metadata:
        if any(_DIGEST_KEY in text for text in metadata.values()):
            raise ValueError("the name of its header is gone")
        return tensors, None
    header = _parse_header(metadata)
    claimed = header.pop(_DIGEST_KEY, None)
    if claimed is None:
        raise ValueError("its digest is missing")
    if claimed != _digest(header, tensors):
        raise ValueError("its content does not match its digest")
    return tensors, header


def require_file(path: Path) -> None:
    """Refuse folders, pipes and devices with a CheckpointError: reading a pipe would block."""
    if path.exists() and not path.is_file():
        raise CheckpointError(f"{path} is no regular file: remove it, or name another one")


def read_header(path: Path) -> Mapping[str, JsonValue]:
    """Read a file's header; empty where it is not ours or missing."""
    try:
        require_file(path)
        with safe_open(path, framework="pt") as file:
            return _parse_header(file.metadata() or {})
    except (SafetensorError, OSError, ValueError, KeyError, CheckpointError):
        return {}


def count_parameters(path: Path, *, prefix: str) -> int:
    """Count the parameters whose names begin with `prefix`, buffers left out; reads no tensor.

    Raises:
        CheckpointError: The file is damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return sum(
                prod(file.get_slice(name).get_shape())
                for name in file.keys()  # noqa: SIM118
                if name.startswith(prefix) and not name.endswith(_BUFFERS)
            )
    except _UNREADABLE as error:
        raise CheckpointError(f"{path} cannot be read as a checkpoint: {error}") from error


def _parse_header(metadata: Mapping[str, str]) -> dict[str, JsonValue]:
    header = parse_json(metadata[HEADER_KEY])
    if not isinstance(header, dict):
        raise ValueError("its header is no object")
    return header


def _digest(header: Mapping[str, JsonValue], tensors: Mapping[str, Tensor]) -> str:
    text = json.dumps([header, digest_of(tensors)], sort_keys=True)
    return blake2b(text.encode(), digest_size=16).hexdigest()


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Replace `path` in one step, so that a crash leaves the old file or the new one.

    Raises:
        CheckpointError: The folder cannot be written or the disk is full.
    """
    tensors = {
        name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()
    }
    # Through JSON, so that the digest is of what a reader gets.
    header = json.loads(json.dumps(dict(checkpoint.header)))
    header[_DIGEST_KEY] = _digest(header, tensors)
    replace_file(path, save(tensors, {HEADER_KEY: json.dumps(header, sort_keys=True)}))
