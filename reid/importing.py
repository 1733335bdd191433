"""Imports of large libraries, made shorter."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


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
