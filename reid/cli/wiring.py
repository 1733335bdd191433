"""From settings to a wired container; nothing heavy is imported before it is called."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

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
    _warn_of_slow_precision(settings)
    with paused_collection():
        from reid.adapters.events.rich_progress import RichProgress
        from reid.container import Container

    with RichProgress() as listener:
        yield Container(settings=settings, listener=listener, **providers)


def _warn_of_slow_precision(settings: "Settings") -> None:
    names = ("precision", "training_precision")
    asked = [f"encoder.{name}" for name in names if getattr(settings.encoder, name) == "bf16"]
    if not asked:
        return
    from reid.adapters.devices import resolve_device
    from reid.adapters.surroundings import lacks_bf16

    if resolve_device(settings.device) == "cpu" and lacks_bf16():
        typer.echo(
            f"Warning: {' and '.join(asked)}: this processor has no instructions for bf16, which "
            "takes longer than fp32 then: 8 to 10 times as long where there is AVX2 only",
            err=True,
        )
