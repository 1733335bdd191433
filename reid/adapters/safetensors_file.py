"""Checkpoints as safetensors files with a JSON header, written as a whole or not at all.

A file carries a digest of its header and tensors, so that damage is found when it is read.
"""

import json
from collections.abc import Callable, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import TypeVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from reid.adapters.atomic_files import replace_file
from reid.domain.errors import CheckpointError, ReidError
from reid.domain.values.checkpoints import Checkpoint, JsonValue, digest_of
from reid.small_files import parse_json

HEADER_KEY = "reid"
"""The only entry of a file's metadata: safetensors writes several in random order, and the same
checkpoint must give the same bytes."""

DIGEST_KEY = "content_digest"
"""Entry of the header with the digest of its rest and the tensors."""

_MOST_READINGS = 100
"""No file is replaced so often while it is read."""

_Content = TypeVar("_Content")


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a file that `write_checkpoint` wrote.

    Raises:
        CheckpointError: The file is missing, damaged, or without our header.
    """
    return read_unreplaced(path, _read)


def read_unreplaced(path: Path, read: Callable[[Path], _Content]) -> _Content:
    """Read a file again where it was replaced meanwhile.

    safetensors opens a file once for the header and again for the tensors, so a reader during a
    training can get the header of one state and the tensors of the next.

    Raises:
        ReidError: As `read`, of a file that was not replaced.
    """
    for _ in range(_MOST_READINGS - 1):
        before = _identity_of(path)
        try:
            content = read(path)
        except ReidError:
            if _identity_of(path) == before:
                raise
        else:
            if _identity_of(path) == before:
                return content
    return read(path)


def _identity_of(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns


def _read(path: Path) -> Checkpoint:
    require_file(path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if HEADER_KEY not in metadata:
                raise CheckpointError(
                    f"{path} is a safetensors file, but reid did not write it: it has no header"
                )
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            header = verify_digest(metadata, tensors)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} does not exist") from error
    # torch raises RuntimeError where the file is gone before it is opened for the tensors.
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{path} cannot be read as a checkpoint: {error}; it is damaged: bring it back from a "
            "copy, or remove it and make it again"
        ) from error
    return Checkpoint(tensors=tensors, header=header)


def require_file(path: Path) -> None:
    """Refuse folders, pipes and devices with a CheckpointError: reading a pipe would block."""
    if path.exists() and not path.is_file():
        raise CheckpointError(f"{path} is no regular file: remove it, or name another one")


def read_header(path: Path) -> Mapping[str, JsonValue]:
    """Read a file's header; empty where it is not ours or missing."""
    try:
        require_file(path)
        with safe_open(path, framework="pt") as file:
            header = parse_json((file.metadata() or {})[HEADER_KEY])
    except (SafetensorError, OSError, ValueError, KeyError, CheckpointError):
        return {}
    return header if isinstance(header, dict) else {}


def verify_digest(
    metadata: Mapping[str, str], tensors: Mapping[str, Tensor]
) -> dict[str, JsonValue]:
    """Compare header and tensors with the digest, and return the header without it.

    Raises:
        ValueError: They differ, or the header is not ours.
    """
    header = parse_json(metadata[HEADER_KEY])
    if not isinstance(header, dict):
        raise ValueError("its header is no object")
    claimed = header.pop(DIGEST_KEY, None)
    if claimed is None:
        raise ValueError("its digest is missing")
    if claimed != digest_with_header(header, digest_of(tensors)):
        raise ValueError("its content does not match its digest")
    return header


def digest_with_header(header: Mapping[str, JsonValue], tensors: str) -> str:
    """Hash a file by its header and the digest of its tensors."""
    text = json.dumps([header, tensors], sort_keys=True)
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
    header[DIGEST_KEY] = digest_with_header(header, digest_of(tensors))
    replace_file(path, save(tensors, {HEADER_KEY: json.dumps(header, sort_keys=True)}))
