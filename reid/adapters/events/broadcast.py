"""One event, any number of listeners."""

from collections.abc import Sequence
from dataclasses import dataclass

from reid.domain.events import Event
from reid.ports.events import EventListener


@dataclass(frozen=True, slots=True)
class Broadcast:
    """Passes every event on, in the order of its listeners; without any, it ignores events."""

    listeners: Sequence[EventListener] = ()

    def __call__(self, event: Event, /) -> None:
        """Pass the event on."""
        for listener in self.listeners:
            listener(event)
