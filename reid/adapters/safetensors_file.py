"""Checkpoints as safetensors files with a JSON header; written whole or not at all.

A file carries a digest of its header and tensors, so that damage is found when it is read.
"""

import errno
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from reid.domain.errors import CheckpointError
from reid.domain.values.checkpoints import Checkpoint, JsonValue, digest_of

HEADER_KEY = "reid"
DIGEST_KEY = "digest"

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a file that `write_checkpoint` wrote.

    Raises:
        CheckpointError: No such file, not a safetensors file, one without our header, or one that
            is not what was written.
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
            verify_digest(metadata, tensors)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} does not exist") from error
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} cannot be read as a checkpoint: {error}; it is damaged: bring it back from a "
            "copy, or remove it and make it anew"
        ) from error
    return Checkpoint(tensors=tensors, header=header)


def read_header(path: Path) -> Mapping[str, JsonValue]:
    """Read what a file says of itself; empty where it is none of ours, or no file at all."""
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})[HEADER_KEY])
    except (SafetensorError, OSError, ValueError, KeyError):
        return {}
    return header if isinstance(header, dict) else {}


def verify_digest(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> None:
    """Compare what was read with the digest beside it; files from before there was one have none.

    Args:
        metadata: Of a file that has our header.
        tensors: All of the file's.

    Raises:
        ValueError: They differ.
    """
    # A damaged name of the digest must not pass for a file that never had one.
    if metadata.keys() - {HEADER_KEY, DIGEST_KEY}:
        raise ValueError("its header has entries that reid does not write")
    if DIGEST_KEY in metadata and metadata[DIGEST_KEY] != _digest(metadata[HEADER_KEY], tensors):
        raise ValueError("its content does not match its digest")


def _digest(header: str, tensors: Mapping[str, Tensor]) -> str:
    return blake2b(f"{header}\n{digest_of(tensors)}".encode(), digest_size=16).hexdigest()


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Replace `path` in one step, so that a crash leaves the old file or the new one.

    Raises:
        CheckpointError: The folder cannot be written or the disk is full.
    """
    tensors = {
        name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()
    }
    header = json.dumps(dict(checkpoint.header), sort_keys=True)
    metadata = {HEADER_KEY: header, DIGEST_KEY: _digest(header, tensors)}
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
        sync_folder(path.parent)
    except OSError as error:
        raise cannot_be_written(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def cannot_be_written(path: Path, error: OSError) -> CheckpointError:
    """Word a failed write: what was there before is there still."""
    advice = "free some space" if error.errno in _FULL else "make its folder writable"
    return CheckpointError(
        f"{path} cannot be written: {error.strerror or error}; {advice} or name another one, and "
        "try again: earlier files are as they were"
    )


def sync_folder(folder: Path) -> None:
    """Flush a folder's list of names to the disk.

    Raises:
        OSError: It cannot be done.
    """
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
