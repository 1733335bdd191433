"""Annoy's files, with what was measured inside.

Annoy maps a whole file and looks for its roots from the end: copies of them stand there, in nodes
that say how many rows lie below, all of them. A file of one index has to hold its facts too, yet
Annoy takes nothing behind the copies. So they stand before them, in nodes to which no other leads
and below which lie no rows, which is where Annoy stops looking for roots.

Letters: G gallery, D width.
"""

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from reid.adapters.indexes.written import IndexFacts, damaged

_HEADER = struct.Struct("<iq")
"""A node's: rows below it; two children, of which we use the room to count the facts' nodes."""

_NUMBER_BYTES = 4
_MAGIC = b"reid-annoy-1"
_MOST_NODES = 2**16
_COPIED_AT_ONCE = 2**20


def add_facts(source: Path, target: Path, *, facts: IndexFacts) -> None:
    """Copy a file of Annoy's with facts put in.

    Args:
        source: As Annoy wrote it.
        target: Where to write.
        facts: Their number of bytes is that of the source.

    Raises:
        OSError: It cannot be read or written.
    """
    node_bytes = _node_bytes(facts.width)
    copies = node_bytes * facts.effort["trees"]
    with source.open("rb") as old, target.open("wb") as new:
        _copy(old, new, facts.num_bytes - copies)
        new.writelines(_nodes(_MAGIC + facts.encode(), node_bytes))
        _copy(old, new, copies)


def read_facts(path: str, *, width: int) -> IndexFacts:
    """Find the facts that `add_facts` put into a file.

    Raises:
        VectorIndexError: There are none, or parts of the file are missing.
    """
    node_bytes = _node_bytes(width)
    try:
        with Path(path).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            copies, num_nodes = _count_from_the_end(file, size=size, node_bytes=node_bytes)
            start = size - node_bytes * (copies + num_nodes)
            if not 0 < num_nodes <= _MOST_NODES or start < 0:
                raise damaged(path, "what was measured is missing")
            file.seek(start)
            block = file.read(node_bytes * num_nodes)
        facts = IndexFacts.decode(_content(block, node_bytes))
    except (OSError, ValueError, TypeError, struct.error) as error:
        raise damaged(path, error) from error
    if copies != facts.effort.get("trees") or facts.num_bytes != start + node_bytes * copies:
        raise damaged(path, "parts of it are missing")
    return facts


def _node_bytes(width: int) -> int:
    return _HEADER.size + _NUMBER_BYTES * width


def _nodes(content: bytes, node_bytes: int) -> Iterator[bytes]:
    """Spread a text over nodes, where vectors would be."""
    room = node_bytes - _HEADER.size
    parts = [content[start : start + room] for start in range(0, len(content), room)]
    for part in parts:
        yield _HEADER.pack(0, len(parts)) + part.ljust(room, b"\0")


def _content(block: bytes, node_bytes: int) -> bytes:
    parts = (
        block[start + _HEADER.size : start + node_bytes]
        for start in range(0, len(block), node_bytes)
    )
    content = b"".join(parts).rstrip(b"\0")
    if not content.startswith(_MAGIC):
        raise ValueError("what was measured is missing")
    return content.removeprefix(_MAGIC)


def _count_from_the_end(file: BinaryIO, *, size: int, node_bytes: int) -> tuple[int, int]:
    """Count the copies of roots, and the nodes that the node before them speaks of."""
    if size == 0 or size % node_bytes:
        raise ValueError("its length fits no such rows")
    copies, rows = 0, -1
    for start in range(size - node_bytes, -1, -node_bytes):
        file.seek(start)
        below, num_nodes = _HEADER.unpack(file.read(_HEADER.size))
        if below == 0:
            return copies, num_nodes
        if rows not in (-1, below):
            break
        copies, rows = copies + 1, below
    raise ValueError("what was measured is missing")


def _copy(old: BinaryIO, new: BinaryIO, num_bytes: int) -> None:
    left = num_bytes
    while left:
        part = old.read(min(left, _COPIED_AT_ONCE))
        if not part:
            raise OSError("the file written last is shorter than it was")
        new.write(part)
        left -= len(part)
