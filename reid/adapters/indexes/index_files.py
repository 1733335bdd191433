"""Files of indexes: the structure, followed by its facts as JSON.

A gallery replaces an index by renaming one file, so the JSON has no file of its own. A file that is
cut short, damaged, or of other rows is refused: a wrong graph would silently give wrong answers, or
be read beyond its end.

Letters: G gallery, D width.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from torch import Tensor

from reid.adapters.atomic_files import replaced, sync_file
from reid.adapters.indexes.mapped_files import read_anew
from reid.domain.errors import VectorIndexError
from reid.small_files import parse_json

_MAGIC = b"reid-index-1"
_LENGTH_BYTES = 8

LARGEST_EFFORT = 2**31 - 1
"""Libraries count in C integers."""

_FINGERPRINTED_ROWS = 8
"""Rows by which galleries of one shape are distinguished: galleries of other images differ in
nearly every row, and a mapped file need not be read as a whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexFacts:
    """What `build` found out about a structure."""

    kind: str
    num_rows: int
    """G."""

    width: int
    """D."""

    fingerprint: str
    """Digest of some rows."""

    recall: float = 1.0
    effort: int = 1
    """How much is looked at per search, as the kind counts it."""

    num_bytes: int = 0
    """Size of the structure in the file."""

    trees: int = 0
    """Size of a forest."""

    checksum: int = 0
    """Checksum of a forest's links, which Annoy follows unchecked."""

    def encode(self) -> bytes:
        """Write as bytes."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, text: bytes) -> "IndexFacts":
        """Read what `encode` wrote; ValueError where it is something else."""
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
        return facts


def fingerprint_of(gallery: Tensor) -> str:
    """Digest up to 8 rows, evenly spread; (G, D) float32."""
    count = min(_FINGERPRINTED_ROWS, len(gallery))
    digest = hashlib.blake2b(digest_size=16)
    for number in range(count):
        row = gallery[number * (len(gallery) - 1) // max(1, count - 1)]
        digest.update(row.contiguous().cpu().numpy().data)
    return digest.hexdigest()


def require_fit(facts: IndexFacts, *, kind: str, gallery: Tensor, path: str) -> None:
    """Refuse the facts of a file that was written for other rows than (G, D) float32 `gallery`.

    Raises:
        VectorIndexError: Another kind of index, or other rows.
    """
    if facts.kind != kind:
        raise damaged(path, f"it is of the kind {facts.kind}, not {kind}")
    if (facts.num_rows, facts.width) != tuple(gallery.shape):
        raise VectorIndexError(
            f"{path} indexes {facts.num_rows} rows of width {facts.width}, not the "
            f"{tuple(gallery.shape)} given: build the index again"
        )
    if facts.fingerprint != fingerprint_of(gallery):
        raise VectorIndexError(f"{path} indexes other rows: build the index again")


def damaged(path: str, problem: object) -> VectorIndexError:
    """Return the error about a file that cannot be read as an index."""
    return VectorIndexError(f"{path} cannot be read as an index ({problem}): build it again")


def append_facts(path: Path, facts: IndexFacts) -> IndexFacts:
    """Write facts behind the structure in a file, and return them with its size.

    Raises:
        OSError: It cannot be written.
    """
    facts = replace(facts, num_bytes=path.stat().st_size)
    text = facts.encode()
    with path.open("ab") as file:
        file.write(text + len(text).to_bytes(_LENGTH_BYTES, "little") + _MAGIC)
    return facts


def read_facts(path: str) -> IndexFacts:
    """Read the facts that `append_facts` wrote.

    Raises:
        VectorIndexError: Facts or other parts of the file are missing.
    """
    try:
        with Path(path).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _LENGTH_BYTES - len(_MAGIC)))
            end = file.read()
            length = int.from_bytes(end[:_LENGTH_BYTES], "little")
            start = size - len(end) - length
            if end[_LENGTH_BYTES:] != _MAGIC or start < 0:
                raise damaged(path, "its end is missing")
            file.seek(start)
            facts = IndexFacts.decode(file.read(length))
    except (OSError, ValueError, TypeError) as error:
        raise damaged(path, error) from error
    if facts.num_bytes != start:
        raise damaged(path, f"{start} bytes instead of {facts.num_bytes}")
    return facts


@contextmanager
def replacing(path: str) -> Iterator[Path]:
    """Yield a file to write, which replaces `path` once it is complete and on the disk.

    Raises:
        VectorIndexError: It cannot be written.
    """
    try:
        with replaced(Path(path), temporary=Path(f"{path}.part")) as part:
            yield part
            sync_file(part)  # pages that are not on the disk yet would stay in memory
            read_anew(part)
    except OSError as error:
        raise VectorIndexError(
            f"{path} cannot be written: {error}; choose another folder or make room"
        ) from error
