"""SIGTERM, which schedulers send before they stop a machine, ends work as Ctrl-C does."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from reid.container.root import Container


class Terminated(KeyboardInterrupt):
    """SIGTERM came."""


@contextmanager
def ending_on_sigterm() -> Iterator[None]:
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


@contextmanager
def saying_how_to_resume(container: "Container") -> Iterator[None]:
    """If the block is interrupted, print what is saved and how to resume."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(_advice(container), err=True)
        raise


def _terminate(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - as Python calls it
    raise Terminated


def _advice(container: "Container") -> str:
    records = container.records()
    if records.manifest() is None:
        return f"The run in {records.place} had not begun: start it again."
    saved = [line for line in records.progress() if line["event"] == "checkpoint_saved"]
    last = f"{saved[-1]['name']} of epoch {saved[-1]['epoch']}" if saved else "no epoch yet"
    return (
        f"Saved in {records.place}: {last}; later training is lost. Resume by the same command "
        "with --resume."
    )
