"""Providers that all subjects share: settings, a listener and the time."""

from datetime import UTC, datetime

from dependency_injector import containers, providers

from reid.adapters.events.broadcast import Broadcast
from reid.domain.values.durations import time_text
from reid.settings.schema import Settings


def utc_now() -> str:
    """Return the time in the format of galleries."""
    return time_text(datetime.now(UTC))


class Foundation(containers.DeclarativeContainer):
    """Shared providers."""

    settings: providers.Dependency[Settings] = providers.Dependency(instance_of=Settings)
    listener = providers.Singleton(Broadcast)
    now = providers.Object(utc_now)


SETTINGS = Foundation.settings.provided  # settings by section, as arguments of providers
