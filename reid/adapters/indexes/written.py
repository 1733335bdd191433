"""What is written beside the graph or trees of an index, to know it again.

A file that was cut short, or goes with other rows, is refused rather than searched: a wrong graph
answers wrongly without a word, or reads beyond its end.

Letters: G gallery, D width.
"""

import hashlib
import json
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import Tensor

from reid.adapters.atomic_files import replaced, sync_file
from reid.adapters.indexes.mapped_files import read_anew
from reid.domain.errors import VectorIndexError
from reid.small_files import parse_json

_LENGTH_BYTES = 8
_MOST_EFFORT = 2**31 - 1
"""Libraries count in C integers."""

_FINGERPRINTED_ROWS = 8
"""Rows read to tell two galleries of one shape apart: a mapped file is not read as a whole, and
galleries with other pictures differ in nearly every row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexFacts:
    """What `build` found out beside the structure itself."""

    kind: str
    num_rows: int
    """G."""

    width: int
    """D."""

    fingerprint: str
    """Of some of the rows."""

    recall: float
    effort: Mapping[str, int]
    """How much is looked at per search, in the words of the kind."""

    num_bytes: int
    """Of the structure in the file."""

    def encode(self) -> bytes:
        """Write as bytes."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, text: bytes) -> "IndexFacts":
        """Read what `encode` wrote.

        Raises:
            ValueError: It is something else.
        """
        values = parse_json(text)
        if not isinstance(values, dict) or set(values) != set(cls.__slots__):
            raise ValueError("not the facts of an index")
        facts = cls(**values)
        numbers = (facts.num_rows, facts.width, facts.num_bytes)
        is_of_types = all(type(number) is int for number in numbers) and isinstance(
            facts.effort, dict
        )
        if not is_of_types or not all(map(_is_effort, facts.effort.values())):
            raise ValueError("not the facts of an index")
        if type(facts.recall) not in (int, float) or not 0 <= facts.recall <= 1:
            raise ValueError(f"its recall is {facts.recall}")
        return facts


def _is_effort(value: object) -> bool:
    return isinstance(value, int) and 1 <= value <= _MOST_EFFORT


def fingerprint_of(gallery: Tensor) -> str:
    """Digest up to 8 rows, evenly spread; (G, D) float32."""
    count = min(_FINGERPRINTED_ROWS, len(gallery))
    digest = hashlib.blake2b(digest_size=16)
    for number in range(count):
        row = gallery[number * (len(gallery) - 1) // max(1, count - 1)]
        digest.update(row.contiguous().cpu().numpy().data)
    return digest.hexdigest()


def require_fit(
    facts: IndexFacts, *, kind: str, gallery: Tensor, path: str, efforts: Collection[str] = ()
) -> None:
    """Refuse a file that was written for something else.

    Args:
        facts: Of the file.
        kind: Of index wanted.
        gallery: (G, D) float32 that it should be of.
        path: Of the file.
        efforts: Names that the kind has for how much is looked at.

    Raises:
        VectorIndexError: Another kind of index, or other rows.
    """
    if facts.kind != kind:
        raise VectorIndexError(f"{path} holds an index of the kind {facts.kind}, not {kind}")
    if not facts.effort.keys() >= set(efforts):
        raise damaged(path, "what was measured is missing")
    if (facts.num_rows, facts.width) != tuple(gallery.shape):
        raise VectorIndexError(
            f"{path} indexes {facts.num_rows} rows of width {facts.width}, not the "
            f"{tuple(gallery.shape)} given: build the index again"
        )
    if facts.fingerprint != fingerprint_of(gallery):
        raise VectorIndexError(f"{path} indexes other rows: build the index again")


def damaged(path: str, problem: object) -> VectorIndexError:
    """Word an error about a file that cannot be an index."""
    return VectorIndexError(f"{path} cannot be read as an index ({problem}): build it again")


def append_facts(path: Path, facts: IndexFacts, *, magic: bytes) -> None:
    """Write facts behind the structure in a file, and last of all what kind of file it is.

    Raises:
        OSError: It cannot be written.
    """
    text = facts.encode()
    with path.open("ab") as file:
        file.write(text + len(text).to_bytes(_LENGTH_BYTES, "little") + magic)


def read_last_facts(path: str, *, magic: bytes) -> IndexFacts:
    """Find the facts that `append_facts` wrote.

    Raises:
        VectorIndexError: There are none, or parts of the file are missing.
    """
    try:
        with Path(path).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _LENGTH_BYTES - len(magic)))
            end = file.read()
            length = int.from_bytes(end[:_LENGTH_BYTES], "little")
            start = size - len(end) - length
            if end[_LENGTH_BYTES:] != magic or start < 0:
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
    """Give a file to write that takes the place of `path` once it is whole and on the disk.

    Raises:
        VectorIndexError: It cannot be written.
    """
    try:
        with replaced(Path(path), temporary=Path(f"{path}.part")) as part:
            yield part
            sync_file(part)  # what is not on the disk yet stays in memory as it is
            read_anew(part)
    except OSError as error:
        raise VectorIndexError(
            f"{path} cannot be written: {error}; choose another folder or make room"
        ) from error
