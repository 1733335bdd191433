"""Where a file's weights lie: under which entry, and behind which prefix of their names."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from torch import Tensor

_DEEPEST = 4  # entries below entries that are looked into


class Nested(NamedTuple):
    """Tensors by name, and the entry that holds them."""

    tensors: dict[str, Tensor]
    entry: str  # dotted; empty where the file is the table itself


def find_tensors(content: Mapping[Any, object]) -> Nested:
    """Take the table with the most tensors of a file's nested ones, the first of equals.

    An optimiser's state has many tables of a few tensors each, an average of the weights usually
    follows them.
    """
    return max(_tables(content, "", _DEEPEST), key=lambda found: len(found.tensors))


def _tables(content: Mapping[Any, object], entry: str, depth: int) -> Iterator[Nested]:
    yield Nested({str(name): v for name, v in content.items() if isinstance(v, Tensor)}, entry)
    for name, value in content.items():
        if isinstance(value, Mapping) and depth:
            yield from _tables(value, f"{entry}.{name}".lstrip("."), depth - 1)


def strip_prefix(
    tensors: Mapping[str, Tensor], wanted: Collection[str]
) -> tuple[dict[str, Tensor], str]:
    """Cut the prefix, ending in a dot, behind which the most wanted names stand, at least half.

    Names without it stay as they are. Data-parallel training, torch.compile and wrappers write such
    prefixes.

    Returns:
        The tensors and the prefix, which is empty where names are as wanted, or none is wanted.
    """
    found = Counter(
        name[:start] for name in tensors for start in _beginnings(name) if name[start:] in wanted
    )
    prefix = min(found, key=lambda each: (-found[each], len(each)), default="")
    if 2 * found[prefix] < min(len(wanted), len(tensors)):
        prefix = ""  # a few names of another model are alike by chance
    return {name.removeprefix(prefix): value for name, value in tensors.items()}, prefix


def _beginnings(name: str) -> Iterator[int]:
    """Yield where a name's parts begin."""
    yield 0
    yield from (place + 1 for place, letter in enumerate(name) if letter == ".")


def in_words(entry: str, prefix: str) -> str:
    """Say which entry and prefix were taken, as ` (entry model, names behind module.)`."""
    parts = [f"entry {entry}"] * bool(entry) + [f"names behind {prefix}"] * bool(prefix)
    return f" ({', '.join(parts)})" if parts else ""
