"""From settings to a wired container; nothing heavy is imported before it is called."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from reid.importing import paused_collection

if TYPE_CHECKING:
    from reid.container import Container
    from reid.settings.schema import Settings


@contextmanager
def wired(settings: "Settings", **providers: object) -> Iterator["Container"]:
    """Give a container whose work shows its progress on standard error until the block ends.

    Args:
        settings: What adapters and services are made of.
        providers: Replace the container's own by name.

    Raises:
        ConfigurationError: Nobody offers the index, which is made last of all.
    """
    from reid.plugins import PluginGroup, check_kind

    check_kind(PluginGroup.INDEXES, settings.index.kind)
    with paused_collection():
        from reid.adapters.events.rich_progress import RichProgress
        from reid.container import Container

    with RichProgress() as listener:
        yield Container(settings=settings, listener=listener, **providers)
