"""Imports of large libraries, made shorter or later."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint
from typing import Any


class Lazily:
    """Calls a class or function that is imported when it is first called."""

    def __init__(self, place: str) -> None:
        """Remember the place, `module:name`; nothing is imported yet."""
        self.place = place

    def load(self) -> Callable[..., Any]:
        """Import it, if nobody has yet."""
        with paused_collection():
            # A callable of unknown signature.
            return EntryPoint(self.place, self.place, "reid").load()  # type: ignore[no-any-return]

    def __call__(self, *arguments: object, **named: object) -> Any:  # noqa: ANN401
        """Call it."""
        return self.load()(*arguments, **named)


@contextmanager
def paused_collection() -> Iterator[None]:
    """Keep Python from looking for garbage until the block ends.

    torch and open_clip make hundreds of thousands of objects that all stay. The collector would
    walk over them again and again while they are imported: a tenth of the time.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
