"""Checkpoints of training."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from reid.domain.errors import CheckpointError
from reid.domain.values.json_values import JsonValue as JsonValue

CHECKPOINT_VERSION = 1  # format of all checkpoints that runs write, in their headers as `version`
ENCODER_FORMAT = "reid-encoder"
PROMPTS_FORMAT = "reid-prompts"
TEACHER_FORMAT = "reid-teacher"
STATE_FORMAT = "reid-state"  # values of `format` in the headers of a run's checkpoints


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Named tensors, and a header that describes them."""

    tensors: Mapping[str, Tensor]
    header: Mapping[str, JsonValue] = field(default_factory=dict)


def digest_of(tensors: Mapping[str, Tensor]) -> str:
    """Hash named tensors by names and bytes, independent of their order."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(tensors):
        here = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {here.dtype} {tuple(here.shape)}\n".encode())
        digest.update(here.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


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
