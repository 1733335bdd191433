"""From settings to a wired container; nothing heavy is imported before it is called."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reid.container import Container
    from reid.settings.loading import ResolvedSettings


@contextmanager
def wired(resolved: "ResolvedSettings") -> Iterator["Container"]:
    """Give a container whose work shows its progress on standard error until the block ends."""
    from reid.adapters.events.rich_progress import RichProgress
    from reid.container import Container

    with RichProgress() as listener:
        yield Container(settings=resolved.settings, listener=listener)
