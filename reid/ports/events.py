"""Who hears of progress."""

from typing import Protocol

from reid.domain.events import Event


class EventListener(Protocol):
    """Hears every event of a command, in order, on the calling thread."""

    def __call__(self, event: Event, /) -> None:
        """Take note; must not raise and must return soon."""
        ...
