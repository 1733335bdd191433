"""Checkpoints as safetensors files with a JSON header; written whole or not at all."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from reid.domain.errors import CheckpointError
from reid.domain.values.checkpoints import Checkpoint, JsonValue

HEADER_KEY = "reid"


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a file that `write_checkpoint` wrote.

    Raises:
        CheckpointError: No such file, not a safetensors file, or one without our header.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if HEADER_KEY not in metadata:
                raise CheckpointError(
                    f"{path} is a safetensors file, but reid did not write it: it has no header"
                )
            header = json.loads(metadata[HEADER_KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} does not exist") from error
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read as a checkpoint: {error}") from error
    return Checkpoint(tensors=tensors, header=header)


def read_header(path: Path) -> Mapping[str, JsonValue]:
    """Read what a file says of itself; empty where it is none of ours, or no file at all."""
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})[HEADER_KEY])
    except (SafetensorError, OSError, ValueError, KeyError):
        return {}
    return header if isinstance(header, dict) else {}


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Replace `path` in one step, so that a crash leaves the old file or the new one.

    Raises:
        CheckpointError: The folder cannot be written or the disk is full.
    """
    tensors = {
        name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()
    }
    metadata = {HEADER_KEY: json.dumps(dict(checkpoint.header), sort_keys=True)}
    replace_file(path, save(tensors, metadata))


def replace_file(path: Path, content: bytes) -> None:
    """Write a temporary file beside `path`, flush it to disk, and rename it over `path`.

    Raises:
        CheckpointError: The folder cannot be written or the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)
