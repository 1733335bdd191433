"""A listener for those who do not want to hear."""

from reid.domain.events import Event


class Silent:
    """Hears everything and tells nobody."""

    def __call__(self, event: Event, /) -> None:
        """Do nothing."""
