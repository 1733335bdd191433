"""How a command ends: exit codes, the same in a shell and under a test's runner.

SIGTERM, which schedulers send before they stop a machine, ends work as Ctrl-C does.
"""

import errno
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

import typer
from typer.core import TyperGroup

from reid.cli.render import harmless
from reid.domain.errors import (
    CheckpointError,
    ConfigurationError,
    DatasetError,
    EncoderError,
    EvaluationError,
    GalleryError,
    ReidError,
    VectorIndexError,
)

if TYPE_CHECKING:
    from reid.container.root import Container

EXIT_OK: Final = 0
EXIT_BUG: Final = 1
"""Python's own code for a traceback: a fault of the program, not of the user.

Typer itself ends with 2 after unknown options and the like.
"""

EXIT_UNSOUND: Final = 9  # `reid doctor` found something broken
EXIT_UNWRITABLE: Final = 10
"""The results cannot be written: standard output is a file on a full disk."""

EXIT_INTERRUPTED: Final = 130
EXIT_TERMINATED: Final = 143  # the code that shells report for a process ended by SIGTERM
_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_ROOM: Final = "free some space or send it elsewhere, and try again"

EXIT_CODES: Final[Mapping[type[ReidError], int]] = {
    ConfigurationError: 3,
    DatasetError: 4,
    CheckpointError: 5,
    EncoderError: 5,
    VectorIndexError: 6,
    EvaluationError: 7,
    GalleryError: 8,
}


def exit_code_of(error: ReidError) -> int:
    """Return the code of an error's class, or of its nearest ancestor."""
    return next((EXIT_CODES[kind] for kind in type(error).__mro__ if kind in EXIT_CODES), EXIT_BUG)


def describe(error: ReidError) -> str:
    """Format an error for standard error, with its lines aligned below the first."""
    return "Error: " + "\n       ".join(harmless(line) for line in str(error).split("\n"))


class Terminated(KeyboardInterrupt):
    """SIGTERM came."""


class ReidGroup(TyperGroup):
    """Runs commands, and turns their errors into a message and an exit code."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401  (Typer 0.29 keeps Click's types private)
        """Run the named command."""
        with _errors_as_exit_codes(), _ending_on_sigterm():
            answer = super().invoke(ctx)
            # None if the caller closed it (`>&-`).
            if sys.stdout is not None:
                sys.stdout.flush()
            return answer


@contextmanager
def saying_how_to_resume(container: "Container") -> Iterator[None]:
    """If the block is interrupted, print what is saved and how to resume."""
    try:
        yield
    except KeyboardInterrupt:
        records = container.records()
        saved = [line for line in records.progress() if line["event"] == "checkpoint_saved"]
        last = f"{saved[-1]['name']} of epoch {saved[-1]['epoch']}" if saved else "no epoch yet"
        typer.echo(
            f"The run in {records.place} had not begun: start it again."
            if records.manifest() is None
            else f"Saved in {records.place}: {last}; later training is lost. Resume by the same "
            "command with --resume.",
            err=True,
        )
        raise


@contextmanager
def _errors_as_exit_codes() -> Iterator[None]:
    try:
        yield
    except ReidError as error:
        typer.echo(describe(error), err=True)
        raise typer.Exit(exit_code_of(error)) from error
    except KeyboardInterrupt as error:
        is_terminated = isinstance(error, Terminated)
        typer.echo("Terminated." if is_terminated else "Interrupted.", err=True)
        raise typer.Exit(EXIT_TERMINATED if is_terminated else EXIT_INTERRUPTED) from error
    except BrokenPipeError as error:
        # The reader has seen enough: `head`, for example.
        _discard_standard_output()
        raise typer.Exit(EXIT_OK) from error
    except OSError as error:
        # Errors of our own files are worded where they are written; this one is the output's.
        if error.errno not in _FULL:
            raise
        _discard_standard_output()
        with suppress(OSError):
            typer.echo(f"Error: the output cannot be written: {error.strerror}; {_ROOM}", err=True)
        raise typer.Exit(EXIT_UNWRITABLE) from error


def _discard_standard_output() -> None:
    """Keep Python from failing again when it flushes at exit."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def _ending_on_sigterm() -> Iterator[None]:
    """Raise `Terminated` in the block when SIGTERM comes.

    Outside the main thread, which alone receives signals, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - as Python calls it
    raise Terminated
