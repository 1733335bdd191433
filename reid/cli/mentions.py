"""Rewrites the settings in messages of the core as options of the running command."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Final

from reid.domain.errors import ReidError

HINTS: Final[Mapping[str, str]] = {
    "resume the run": "--resume",
    "resume it": "--resume",
    "overwrite the run": "--overwrite",
    "overwrite it": "--overwrite",
    "resuming and overwriting a run": "--resume, --overwrite",
    "learn prompts": "--stage prompts",
    "learn them there first": "--stage prompts",
    "ask for the encoder's stage alone": "--stage encoder",
    "give images of unknown people": "--unknown-people",
    "ask for a larger rate": "--false-accept-rate",
    "admit a larger deviation": "--max-error",
    "list the gallery": "reid gallery list",
    "give its name as in an answer": "reid identify",
    "import the file again": "reid gallery import",
    "train the encoder": "reid train",
    "evaluate the run": "reid evaluate --run RUN --data ROOT",
}
"""Options and commands for advice that concerns no setting, by the core's phrase for it."""

_FLAGS: ContextVar[Mapping[str, str]] = ContextVar("flags", default=MappingProxyType({}))
"""The running command's options, `--data` or `--rerank/--no-rerank`, by setting."""


@contextmanager
def mentioning(flags: Mapping[str, str]) -> Iterator[None]:
    """Replace the settings in errors of the block by options, given as in `_FLAGS`."""
    token = _FLAGS.set(flags)
    try:
        yield
    except ReidError as error:
        error.args = (in_options(str(error)),)
        raise
    finally:
        _FLAGS.reset(token)


def in_options(message: str) -> str:
    """Replace settings by options, and add options and commands to the phrases of `HINTS`."""
    from reid.settings.mentions import respell

    for phrase, how in HINTS.items():
        message = message.replace(phrase, f"{phrase} ({how})", 1)
    return respell(message, _option)


def _option(setting: str, value: str | None) -> str | None:
    if setting not in _FLAGS.get():
        return None if value is None else f"--set {setting}={value}"
    positive, _, negative = _FLAGS.get()[setting].partition("/")
    if negative:
        return negative if value == "false" else positive
    return positive if value is None else f"{positive} {value}"
