"""Replaces settings in messages by the names that a reader uses.

The core writes run.directory, or index.kind = exact with a value, in backticks or not. The command
line shows its options instead, the library its arguments, the service its parameters.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from reid.domain.errors import ReidError
from reid.settings.catalogue import known_settings

Spelling: TypeAlias = Callable[[str, str | None], str | None]
"""Returns the replacement of a setting's dotted name and of its value, if any; None to keep the
name."""

_NAME = r"[a-z][a-z0-9_]*"
_QUOTED = re.compile(rf"`({_NAME}(?:\.{_NAME})*)(?: ?= ?([^`\n]+))?`")
# Not part of a longer name or path, not the heading of a line (`key: problem`), not a guess.
_BARE = re.compile(
    rf"(?<![\w./`-])(?<!mean )({_NAME}(?:\.{_NAME})+)(?: ?= ?([\w.+-]*\w))?(?![\w/`\[]|\.\w)"
)


def respell(message: str, spell: Spelling) -> str:
    """Replace every setting in a message, except at the start of a line."""

    def spelled(found: re.Match[str]) -> str:
        key, value = found.groups()
        line = found.string[: found.start()].rpartition("\n")[2]
        is_heading = not line.strip() and found.string[found.end() :].startswith(":")
        if key not in known_settings() or is_heading:
            return found.group()
        spelling = spell(key, value)
        return found.group().strip("`") if spelling is None else spelling

    # Replacements must not be replaced again.
    parts = re.split(r"(`[^`\n]*`)", message)
    return "".join((_QUOTED if part[:1] == "`" else _BARE).sub(spelled, part) for part in parts)


@contextmanager
def respelled_errors(spell: Spelling) -> Iterator[None]:
    """Replace every setting in errors of the block."""
    try:
        yield
    except ReidError as error:
        error.args = (respell(str(error), spell),)
        raise
