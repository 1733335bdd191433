"""Checkpoints of training."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from reid.domain.errors import CheckpointError
from reid.domain.values.json_values import JsonValue as JsonValue

CHECKPOINT_VERSION = 1
"""Format of all checkpoints that runs write, in their headers as `version`."""

ENCODER_FORMAT = "reid-encoder"
PROMPTS_FORMAT = "reid-prompts"
STATE_FORMAT = "reid-state"
"""Values of `format` in the headers of a run's checkpoints."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Named tensors, and a header that describes them."""

    tensors: Mapping[str, Tensor]
    header: Mapping[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TensorBlocks:
    """A tensor whose bytes come block by block."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    blocks: Iterable[bytes | bytearray | memoryview]


def digest_of(tensors: Mapping[str, Tensor]) -> str:
    """Hash named tensors by names and bytes, independent of their order."""
    return digest_of_blocks(_in_one_block(name, tensors[name]) for name in sorted(tensors))


def digest_of_blocks(tensors: Iterable[TensorBlocks]) -> str:
    """Hash tensors, ascending by name, as `digest_of` does, with one block at a time in memory."""
    digest = hashlib.blake2b(digest_size=16)
    for tensor in tensors:
        digest.update(f"{tensor.name} {tensor.dtype} {tensor.shape}\n".encode())
        for block in tensor.blocks:
            digest.update(block)
    return digest.hexdigest()


def _in_one_block(name: str, tensor: Tensor) -> TensorBlocks:
    here = tensor.detach().cpu().contiguous()
    content = here.reshape(-1).view(torch.uint8).numpy().data
    return TensorBlocks(name, here.dtype, tuple(here.shape), [content])


def require_known_version(found: object, *, known: int, place: str) -> None:
    """Refuse what a newer program wrote.

    Args:
        found: The version that the file states.
        known: The newest version that this program reads.
        place: The file, for messages.

    Raises:
        CheckpointError: It is newer, or not a version at all.
    """
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        raise CheckpointError(f"{place} is damaged: it says version {found!r}")
    if found > known:
        raise CheckpointError(
            f"{place} is of version {found}, and this program reads up to version {known}: use "
            "the program that wrote it, or a newer one"
        )
