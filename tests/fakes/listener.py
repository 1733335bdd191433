"""A listener that remembers."""

from reid.domain.events import Event


class RecordingListener:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event, /) -> None:
        self.events.append(event)
