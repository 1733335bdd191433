"""Checkpoints as safetensors files with a JSON header; written whole or not at all.

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
"""The only entry of a file's metadata: safetensors writes several in any order, and the same
checkpoint must become the same bytes."""

DIGEST_KEY = "content_digest"
"""In the header as it is in the file; of the rest of the header and the tensors."""

_MOST_READINGS = 100
"""Nobody replaces a file so often while it is read."""

_Content = TypeVar("_Content")


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a file that `write_checkpoint` wrote.

    Raises:
        CheckpointError: No such file, not a safetensors file, one without our header, or one that
            is not what was written.
    """
    return read_unreplaced(path, _read)


def read_unreplaced(path: Path, read: Callable[[Path], _Content]) -> _Content:
    """Read a file again where another has taken its name meanwhile.

    safetensors opens a file by its name once for the header and once more for the tensors, so a
    reader beside a training can meet the header of one state and the tensors of the next.

    Raises:
        ReidError: As `read`, of a file that kept its name to itself.
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
    # RuntimeError is torch's where the name has gone before it opens the file for the tensors.
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{path} cannot be read as a checkpoint: {error}; it is damaged: bring it back from a "
            "copy, or remove it and make it anew"
        ) from error
    return Checkpoint(tensors=tensors, header=header)


def require_file(path: Path) -> None:
    """Refuse folders, pipes and devices: reading a pipe would block.

    Raises:
        CheckpointError: It is a folder, a pipe or a device.
    """
    if path.exists() and not path.is_file():
        raise CheckpointError(f"{path} is no regular file: remove it, or name another one")


def read_header(path: Path) -> Mapping[str, JsonValue]:
    """Read what a file says of itself; empty where it is none of ours, or no file at all."""
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
    """Compare what was read with its digest.

    Args:
        metadata: Of a file that has our header.
        tensors: All of the file's.

    Returns:
        The header without the digest.

    Raises:
        ValueError: They differ, or the header is not one of ours.
    """
    return verified_header(parse_header(metadata), lambda: digest_of(tensors))


def parse_header(metadata: Mapping[str, str]) -> dict[str, JsonValue]:
    """Read our header, the digest in it still.

    Raises:
        ValueError: It is not one of ours.
    """
    header = parse_json(metadata[HEADER_KEY])
    if not isinstance(header, dict):
        raise ValueError("its header is no object")
    return header


def verified_header(
    header: Mapping[str, JsonValue], digest_tensors: Callable[[], str]
) -> dict[str, JsonValue]:
    """Compare a header and its tensors with the digest in it; see `verify_digest`.

    Args:
        header: As `parse_header` gives it.
        digest_tensors: Computes the `digest_of` of all tensors.

    Raises:
        ValueError: They differ.
    """
    rest = dict(header)
    claimed = rest.pop(DIGEST_KEY, None)
    if claimed is None:
        raise ValueError("its digest is missing")
    if claimed != digest_with_header(rest, digest_tensors()):
        raise ValueError("its content does not match its digest")
    return rest


def digest_with_header(header: Mapping[str, JsonValue], tensors: str) -> str:
    """Hash a file by its header and the digest of its tensors."""
    text = json.dumps([header, tensors], sort_keys=True)
    return blake2b(text.encode(), digest_size=16).hexdigest()


def sealed_header(header: Mapping[str, JsonValue], tensors: str) -> str:
    """Write a header as JSON, with its digest.

    Args:
        header: Without one.
        tensors: Their digest.
    """
    # Through JSON, so that the digest is of what a reader sees.
    plain = json.loads(json.dumps(dict(header)))
    plain[DIGEST_KEY] = digest_with_header(plain, tensors)
    return json.dumps(plain, sort_keys=True)


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Replace `path` in one step, so that a crash leaves the old file or the new one.

    Raises:
        CheckpointError: The folder cannot be written or the disk is full.
    """
    tensors = {
        name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()
    }
    header = sealed_header(checkpoint.header, digest_of(tensors))
    replace_file(path, save(tensors, {HEADER_KEY: header}))
