"""Safetensors files larger than memory: read and written block by block."""

import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from reid.small_files import MOST_HEADER_BYTES, parse_json

BLOCK_BYTES = 2**20

_LENGTH_BYTES = 8
"""The file begins with the length of its header."""

_METADATA = "__metadata__"
_ITEM_BYTES = {"F32": 4, "U8": 1}


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Where a file keeps a tensor."""

    dtype: str
    """`F32` or `U8`."""

    shape: tuple[int, ...]
    start: int
    """Byte offset in the file, or in the data while a header is being written."""

    @property
    def num_bytes(self) -> int:
        """Size of the data."""
        return math.prod(self.shape) * _ITEM_BYTES[self.dtype]


@dataclass(frozen=True, slots=True)
class Layout:
    """Content of a file's header."""

    metadata: Mapping[str, str]
    tensors: Mapping[str, StoredTensor]


def read_layout(file: BinaryIO) -> Layout:
    """Read a file's header, and check that its tensors fill the rest of the file without gaps.

    Raises:
        ValueError: It is no such file, or damaged, or has other types than float32 and bytes.
        OSError: It cannot be read.
    """
    length = int.from_bytes(_read(file, 0, _LENGTH_BYTES), "little")
    if length > MOST_HEADER_BYTES:
        raise ValueError("its header is longer than any that is meant")
    header = parse_json(_read(file, _LENGTH_BYTES, length).decode())
    if not isinstance(header, dict):
        raise ValueError("its header is no object")
    metadata = header.pop(_METADATA, {})
    if not isinstance(metadata, dict):
        raise ValueError("its metadata are no object")
    begin = _LENGTH_BYTES + length
    tensors = {name: _stored(entry, begin=begin) for name, entry in header.items()}
    for tensor in sorted(tensors.values(), key=lambda tensor: (tensor.start, tensor.num_bytes)):
        if tensor.start != begin:
            raise ValueError("its tensors do not follow one another")
        begin += tensor.num_bytes
    if file.seek(0, os.SEEK_END) != begin:
        raise ValueError("its length is not what its header says")
    return Layout(metadata=metadata, tensors=tensors)


def read_blocks(
    file: BinaryIO, *, start: int, num_bytes: int, block_bytes: int = BLOCK_BYTES
) -> Iterator[bytes]:
    """Read a part of a file in blocks, only the last of which may be smaller.

    Raises:
        ValueError: The file is too short.
        OSError: It cannot be read.
    """
    for done in range(0, num_bytes, block_bytes):
        yield _read(file, start + done, min(block_bytes, num_bytes - done))


def header_bytes(layout: Layout) -> bytes:
    """Write the beginning of a file; its length depends on the metadata's length alone."""
    entries: dict[str, Any] = {_METADATA: dict(layout.metadata)}
    for name, tensor in layout.tensors.items():
        entries[name] = {
            "dtype": tensor.dtype,
            "shape": tensor.shape,
            "data_offsets": (tensor.start, tensor.start + tensor.num_bytes),
        }
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _LENGTH_BYTES)
    return len(text).to_bytes(_LENGTH_BYTES, "little") + text


def _stored(entry: object, *, begin: int) -> StoredTensor:
    """Read the header's entry of a tensor; the data start at `begin` in the file."""
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError("a tensor is not described as it should be")
    shape, offsets = entry["shape"], entry["data_offsets"]
    if not _are_counts(shape) or not _are_counts(offsets) or len(offsets) != 2:
        raise ValueError("a tensor's shape and place are no numbers")
    if entry["dtype"] not in ("F32", "U8"):
        raise ValueError(f"a tensor is of type {entry['dtype']!r}")
    tensor = StoredTensor(entry["dtype"], tuple(shape), begin + offsets[0])
    if tensor.num_bytes != offsets[1] - offsets[0]:
        raise ValueError("a tensor's shape and place do not go together")
    return tensor


def _are_counts(values: object) -> bool:
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)


def _read(file: BinaryIO, start: int, length: int) -> bytes:
    file.seek(start)
    content = file.read(length)
    if len(content) < length:
        raise ValueError("it is cut short")
    return content
