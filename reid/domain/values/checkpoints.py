"""What training leaves behind."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from torch import Tensor

JsonValue: TypeAlias = "str | int | float | bool | list[JsonValue] | dict[str, JsonValue] | None"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Named tensors and a header that says what they are."""

    tensors: Mapping[str, Tensor]
    header: Mapping[str, JsonValue] = field(default_factory=dict)


def digest_of(tensors: Mapping[str, Tensor]) -> str:
    """Tell one set of named tensors from another by its names and bytes, in any order."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()
