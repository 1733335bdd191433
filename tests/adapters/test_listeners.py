"""What is peculiar to each listener."""

import json
from io import StringIO
from pathlib import Path

from rich.console import Console

from reid.adapters.events.broadcast import Broadcast
from reid.adapters.events.jsonl_log import JsonlLog
from reid.adapters.events.rich_progress import RichProgress
from tests.fakes.listener import A_RUN, RecordingListener


class Clock:
    """Stands two seconds later at every look."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 2.0
        return self.now


def test_a_broadcast_passes_events_on_in_order() -> None:
    first, second = RecordingListener(), RecordingListener()
    broadcast = Broadcast([first, second])
    for event in A_RUN:
        broadcast(event)
    assert first.events == second.events == list(A_RUN)


def test_metrics_are_one_json_object_a_line(tmp_path: Path) -> None:
    log = JsonlLog(tmp_path / "metrics.jsonl", clock=Clock())
    for event in A_RUN:
        log(event)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["event"] for line in lines] == [
        "stage_started",
        "epoch_finished",
        "image_cache_filled",
        "checkpoint_damaged",
        "checkpoint_saved",
        "stage_finished",
    ]
    epoch = lines[1]
    assert epoch["losses"] == {"i2t": 1.0, "total": 2.0}
    assert epoch["learning_rate"] == 3.5e-4
    assert epoch["images_per_second"] == round(8 / epoch["seconds"], 1)


def test_a_log_goes_on_where_an_earlier_one_stopped(tmp_path: Path) -> None:
    for _ in range(2):
        log = JsonlLog(tmp_path / "metrics.jsonl")
        for event in A_RUN:
            log(event)
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 12


def test_a_finished_epoch_says_losses_rate_speed_and_time_left() -> None:
    screen = StringIO()
    with RichProgress(console=Console(file=screen, width=200), clock=Clock()) as progress:
        for event in A_RUN:
            progress(event)
    text = screen.getvalue()
    assert "Stage 1, prompt learning: 3 epochs, going on at epoch 2" in text
    line = next(line for line in text.splitlines() if line.startswith("epoch"))
    for part in ("2/3", "i2t 1.0000", "total 2.0000", "lr 3.50e-04", "images/s", "left"):
        assert part in line
    assert "embedded train: 8 images" in text
    assert "7 decoded images fill 1 MiB" in text


def test_no_bar_is_drawn_where_nobody_watches() -> None:
    screen = StringIO()
    with RichProgress(console=Console(file=screen)) as progress:
        for event in A_RUN:
            progress(event)
    assert "\x1b[" not in screen.getvalue()
