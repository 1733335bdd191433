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
from reid.adapters.events.silent import Silent
from reid.domain.events import (
    CheckpointDamaged,
    CheckpointSaved,
    EpochFinished,
    Event,
    ImagesEmbedded,
    PictureCacheFilled,
    Stage,
    StageFinished,
    StageStarted,
    StepFinished,
)
from reid.ports.events import EventListener
from tests.fakes.listener import RecordingListener

LISTENERS: dict[str, Callable[[Path], EventListener]] = {
    "silent": lambda _: Silent(),
    "jsonl": lambda folder: JsonlLog(folder / "metrics.jsonl"),
    "rich": lambda _: RichProgress(console=Console(file=StringIO())),
    "rich terminal": lambda _: RichProgress(console=Console(file=StringIO(), force_terminal=True)),
    "broadcast": lambda _: Broadcast([Silent(), RecordingListener()]),
    "fake": lambda _: RecordingListener(),
}

A_RUN: tuple[Event, ...] = (
    ImagesEmbedded(subset="train", done=0, total=8),
    ImagesEmbedded(subset="train", done=4, total=8),
    ImagesEmbedded(subset="train", done=8, total=8),
    StageStarted(Stage.PROMPTS, first_epoch=2, num_epochs=3),
    StepFinished(Stage.PROMPTS, epoch=2, step=1, num_steps=1, num_images=8),
    EpochFinished(
        stage=Stage.PROMPTS,
        epoch=2,
        num_epochs=3,
        losses={"i2t": 1.0, "total": 2.0},
        learning_rate=3.5e-4,
        num_images=8,
    ),
    PictureCacheFilled(num_kept=7, num_bytes=2**20),
    CheckpointDamaged("prompts-state", epoch=1),
    CheckpointSaved("prompts-state", epoch=2),
    StageFinished(Stage.PROMPTS),
)


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
