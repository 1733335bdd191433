"""Receives progress events."""

from typing import Protocol

from reid.domain.events import Event


class EventListener(Protocol):
    """Receives every event of a command, in order, on the calling thread."""

    def __call__(self, event: Event, /) -> None:
        """Receive an event; must not raise and must return soon."""
