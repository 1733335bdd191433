"""Faster and later imports of large libraries."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint
from typing import Any


class Lazily:
    """Calls a class or function, imported on the first call."""

    def __init__(self, place: str) -> None:
        """Keep the place, `module:name`, without importing it."""
        self.place = place

    def load(self) -> Callable[..., Any]:
        """Import and return it."""
        with paused_collection():
            # A callable of unknown signature.
            return EntryPoint(self.place, self.place, "reid").load()  # type: ignore[no-any-return]

    def __call__(self, *arguments: object, **named: object) -> Any:  # noqa: ANN401
        """Call it."""
        return self.load()(*arguments, **named)


@contextmanager
def paused_collection() -> Iterator[None]:
    """Pause garbage collection in the block.

    Importing torch and open_clip creates hundreds of thousands of permanent objects; repeated
    collection takes a tenth of the time.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
