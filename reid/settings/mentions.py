"""Settings that messages mention, for those who read them under other names.

The core writes `run.directory`, or `index.kind = exact` with a value, in backticks. The command
line shows its options instead, the library its arguments.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from reid.domain.errors import ReidError
from reid.settings.catalogue import known_settings

Spelling: TypeAlias = Callable[[str, str | None], str]
"""Makes the replacement of a setting's dotted name and of the value mentioned with it, if any."""

_MENTION = re.compile(r"`([a-z][a-z0-9_.]*)(?: = ([^`\n]+))?`")


def respell(message: str, spell: Spelling) -> str:
    """Replace every setting that a message mentions; keep what else stands in backticks."""

    def spelled(found: re.Match[str]) -> str:
        key, value = found.groups()
        return spell(key, value) if key in known_settings() else found.group()

    return _MENTION.sub(spelled, message)


@contextmanager
def respelled_errors(spell: Spelling) -> Iterator[None]:
    """Replace every setting that errors of the block mention."""
    try:
        yield
    except ReidError as error:
        error.args = (respell(str(error), spell),)
        raise
