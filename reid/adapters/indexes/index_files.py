"""Files of indexes: the structure, followed by its facts as JSON, mapped into memory.

A gallery replaces an index by renaming one file, so the JSON has no file of its own. A file that is
cut short, damaged, or of other rows is refused: a wrong graph would silently give wrong answers, or
be read beyond its end.

Letters: G gallery, D width.
"""

import hashlib
import json
import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from torch import Tensor

from reid.adapters.atomic_files import replaced, sync_file
from reid.domain.errors import VectorIndexError
from reid.small_files import parse_json

LARGEST_EFFORT = 2**31 - 1  # libraries count in C integers
_MAGIC = b"reid-index-1"
_LENGTH_BYTES = 8
_LARGE_PAGE = 2**21

_FINGERPRINTED_ROWS = 8
"""Rows by which galleries of one shape are distinguished: galleries of other images differ in
nearly every row, and a mapped file need not be read as a whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexFacts:
    """What is known of a structure over (G, D) rows."""

    kind: str
    num_rows: int
    width: int
    fingerprint: str
    recall: float = 1.0
    effort: int = 1  # how much is looked at per search, as the kind counts it
    num_bytes: int = 0  # size of the structure in the file
    trees: int = 0
    checksum: int = 0  # of a forest's links, which Annoy follows unchecked

    @classmethod
    def of(
        cls, kind: str, gallery: Tensor, *, recall: float = 1.0, effort: int = 1
    ) -> "IndexFacts":
        """Describe a structure over (G, D) float32 rows."""
        return cls(
            kind=kind,
            num_rows=gallery.shape[0],
            width=gallery.shape[1],
            fingerprint=_fingerprint(gallery),
            recall=recall,
            effort=effort,
        )

    def encode(self) -> bytes:
        """Write as bytes."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, text: bytes, *, kind: str, gallery: Tensor) -> "IndexFacts":
        """Read what `encode` wrote of such an index of the (G, D) float32 rows of a gallery.

        Raises:
            ValueError: It is something else, or describes another kind of index or other rows.
        """
        values = parse_json(text)
        if not isinstance(values, dict) or set(values) != set(cls.__slots__):
            raise ValueError("not the facts of an index")
        facts = cls(**values)
        counts = (facts.num_rows, facts.width, facts.num_bytes, facts.effort, facts.trees)
        if any(type(number) is not int for number in counts):
            raise ValueError("not the facts of an index")
        if not 1 <= facts.effort <= LARGEST_EFFORT:
            raise ValueError(f"it looks at {facts.effort} rows")
        if type(facts.recall) not in (int, float) or not 0 <= facts.recall <= 1:
            raise ValueError(f"its recall is {facts.recall}")
        found, wanted = (facts.kind, facts.num_rows, facts.width), (kind, *gallery.shape)
        if found != wanted:
            raise ValueError(f"its kind, rows and width are {found}, not {wanted}")
        if facts.fingerprint != _fingerprint(gallery):
            raise ValueError("it is of other rows")
        return facts


def append_facts(path: Path, facts: IndexFacts) -> IndexFacts:
    """Write facts behind the structure in a file, and return them with its size."""
    facts = replace(facts, num_bytes=path.stat().st_size)
    text = facts.encode()
    with path.open("ab") as file:
        file.write(text + len(text).to_bytes(_LENGTH_BYTES, "little") + _MAGIC)
    return facts


def read_facts(path: Path, *, kind: str, gallery: Tensor) -> IndexFacts:
    """Read the facts that `append_facts` wrote; see `IndexFacts.decode`."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _LENGTH_BYTES - len(_MAGIC)))
        end = file.read()
        length = int.from_bytes(end[:_LENGTH_BYTES], "little")
        start = size - len(end) - length
        if end[_LENGTH_BYTES:] != _MAGIC or start < 0:
            raise ValueError("its end is missing")
        file.seek(start)
        facts = IndexFacts.decode(file.read(length), kind=kind, gallery=gallery)
    if facts.num_bytes != start:
        raise ValueError(f"{start} bytes instead of {facts.num_bytes}")
    return facts


@contextmanager
def replacing(path: str) -> Iterator[Path]:
    """Yield a file to write, which replaces `path` once it is complete and on the disk."""
    try:
        with replaced(Path(path), temporary=Path(f"{path}.part")) as part:
            yield part
            sync_file(part)  # pages that are not on the disk yet would stay in memory
            read_anew(part)
    except OSError as error:
        raise VectorIndexError(
            f"{path} cannot be written: {error}; choose another folder or make room"
        ) from error


@contextmanager
def reading(path: str) -> Iterator[None]:
    """Turn the errors of reading a damaged file into one."""
    try:
        yield
    except (OSError, ValueError, TypeError, RuntimeError, MemoryError, struct.error) as error:
        message = f"{path} cannot be read as an index ({error}): build it again"
        raise VectorIndexError(message) from error


def map_file(path: Path, num_bytes: int) -> np.ndarray:
    """Map the first bytes of a file into memory, in large pages where the system has them.

    A search touches thousands of places all over a file, and the first touch of each page has a
    cost. With a million vectors of 1280-d, opening a graph and the first query are two to three
    times as fast in Linux's pages of 2 MiB as in those of 4 KiB. The array is writable, as torch
    wants it, but changes stay in memory. A shorter file is a ValueError.
    """
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), num_bytes, access=mmap.ACCESS_COPY)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        mapped.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(mapped, dtype=np.uint8)


def read_anew(path: Path) -> None:
    """Drop a file on the disk from the system's cache, and read it in large pages.

    Linux keeps a file in the small pages in which it was written as long as it is cached.
    """
    if not hasattr(os, "posix_fadvise") or path.stat().st_size < _LARGE_PAGE:
        return
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    # Reading a byte loads the whole page.
    map_file(path, path.stat().st_size)[::_LARGE_PAGE].sum()


def _fingerprint(gallery: Tensor) -> str:
    """Digest up to 8 rows, evenly spread."""
    count = min(_FINGERPRINTED_ROWS, len(gallery))
    digest = hashlib.blake2b(digest_size=16)
    for number in range(count):
        row = gallery[number * (len(gallery) - 1) // max(1, count - 1)]
        digest.update(row.contiguous().cpu().numpy().data)
    return digest.hexdigest()
