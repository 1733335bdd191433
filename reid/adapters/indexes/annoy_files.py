"""Annoy's files, with the facts of an index inside.

Annoy maps a whole file and looks for its roots from the end, where copies of them lie, in nodes
that count all rows below them. Annoy allows nothing behind the copies, so the facts of an index lie
before them, in nodes without rows and without links to them. There Annoy stops looking for roots.

Annoy follows a node's links without checking them. A checksum of the links, not of the vectors, is
computed when a file is written and when it is opened.

Letters: G gallery, D width, N nodes.
"""

import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from reid.adapters.indexes.index_files import IndexFacts, damaged

_HEADER = struct.Struct("<iq")
"""Of a node: rows below it; two children, whose room holds the number of the facts' nodes."""

_NUMBER_BYTES = 4
_MAGIC = b"reid-annoy-1"
_MOST_NODES = 2**16


def add_facts(source: Path, target: Path, *, facts: IndexFacts) -> IndexFacts:
    """Copy a file of Annoy's and insert facts, completed by those of the file.

    Raises:
        OSError: It cannot be read or written.
    """
    nodes = _nodes_of(source, facts.width)  # (N, node bytes)
    forest, copies = nodes[: -facts.trees], nodes[-facts.trees :]
    facts = replace(
        facts,
        num_bytes=nodes.nbytes,
        checksum=_checksum(forest, copies, num_rows=facts.num_rows),
    )
    content = _MAGIC + facts.encode()
    room = nodes.shape[1] - _HEADER.size
    parts = [content[start : start + room] for start in range(0, len(content), room)]
    with target.open("wb") as file:
        file.write(forest.data)
        for part in parts:
            file.write(_HEADER.pack(0, len(parts)) + part.ljust(room, b"\0"))
        file.write(copies.data)
    return facts


def read_facts(path: str, *, width: int) -> IndexFacts:
    """Read the facts that `add_facts` wrote, and check the file's links.

    Raises:
        VectorIndexError: Facts or other parts of the file are missing or damaged.
    """
    try:
        nodes = _nodes_of(Path(path), width)
        end = len(nodes) - _count_copies(nodes)
        _, num_nodes = _HEADER.unpack(nodes[end - 1, : _HEADER.size].tobytes())
        if not 0 < num_nodes <= min(_MOST_NODES, end):
            raise ValueError("what was measured is missing")
        content = nodes[end - num_nodes : end, _HEADER.size :].tobytes().rstrip(b"\0")
        if not content.startswith(_MAGIC):
            raise ValueError("what was measured is missing")
        facts = IndexFacts.decode(content.removeprefix(_MAGIC))
        forest, copies = nodes[: end - num_nodes], nodes[end:]
        if facts.trees != len(copies) or facts.num_bytes != forest.nbytes + copies.nbytes:
            raise ValueError("parts of it are missing")
        if facts.checksum != _checksum(forest, copies, num_rows=facts.num_rows):
            raise ValueError("its links are damaged")
    except (OSError, ValueError, TypeError, struct.error) as error:
        raise damaged(path, error) from error
    return facts


def _nodes_of(path: Path, width: int) -> np.ndarray:
    """Map a file: (N, node bytes) uint8."""
    content: np.ndarray = np.memmap(path, dtype=np.uint8, mode="r")
    node_bytes = _HEADER.size + _NUMBER_BYTES * width
    if len(content) % node_bytes:
        raise ValueError("its length fits no such rows")
    return content.reshape(-1, node_bytes)


def _count_copies(nodes: np.ndarray) -> int:
    """Count the copies of roots, which have as many rows below them as the last node."""
    rows_below = nodes[:, :_NUMBER_BYTES]  # the bytes of an int32
    for number, below in enumerate(rows_below[::-1]):
        if not np.array_equal(below, rows_below[-1]):
            if number < len(nodes) and not below.any():
                return number
            break
    raise ValueError("what was measured is missing")


def _checksum(forest: np.ndarray, copies: np.ndarray, *, num_rows: int) -> int:
    """CRC-32 of the heads of rows and of all other nodes, whose numbers may be links."""
    heads = np.ascontiguousarray(forest[:num_rows, : _HEADER.size])
    found = zlib.crc32(heads.data)
    for part in (forest[num_rows:], copies):
        found = zlib.crc32(np.ascontiguousarray(part).data, found)
    return found
