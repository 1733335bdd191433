"""What every listener promises: it accepts every event of the union."""

from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import get_args

import pytest
from rich.console import Console

from reid.adapters.events.broadcast import Broadcast
from reid.adapters.events.jsonl_log import JsonlLog
from reid.adapters.events.rich_progress import RichProgress
from reid.domain.events import Event
from reid.ports.events import EventListener
from tests.fakes.listener import A_RUN, RecordingListener

LISTENERS: dict[str, Callable[[Path], EventListener]] = {
    "silent": lambda _: Broadcast(),
    "jsonl": lambda folder: JsonlLog(folder / "metrics.jsonl"),
    "rich": lambda _: RichProgress(console=Console(file=StringIO())),
    "rich terminal": lambda _: RichProgress(console=Console(file=StringIO(), force_terminal=True)),
    "broadcast": lambda _: Broadcast([Broadcast(), RecordingListener()]),
    "fake": lambda _: RecordingListener(),
}


@pytest.fixture(params=list(LISTENERS.values()), ids=list(LISTENERS))
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> EventListener:
    factory: Callable[[Path], EventListener] = request.param
    return factory(tmp_path)


def test_the_example_run_has_every_kind_of_event() -> None:
    assert {type(event) for event in A_RUN} == set(get_args(Event))


def test_every_event_is_accepted(listener: EventListener) -> None:
    for event in A_RUN:
        listener(event)


def test_every_event_is_accepted_first(listener: EventListener) -> None:
    for event in reversed(A_RUN):
        listener(event)
