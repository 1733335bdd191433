"""One event, any number of listeners."""

from collections.abc import Sequence

from reid.domain.events import Event
from reid.ports.events import EventListener


class Broadcast:
    """Passes every event on, in the order of its listeners; without any, it ignores events."""

    def __init__(self, listeners: Sequence[EventListener] = ()) -> None:
        """Keep the listeners."""
        self._listeners = tuple(listeners)

    def __call__(self, event: Event, /) -> None:
        """Pass the event on."""
        for listener in self._listeners:
            listener(event)
