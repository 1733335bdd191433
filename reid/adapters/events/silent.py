"""A listener that ignores events."""

from reid.domain.events import Event


class Silent:
    """Ignores all events."""

    def __call__(self, event: Event, /) -> None:
        """Do nothing."""
