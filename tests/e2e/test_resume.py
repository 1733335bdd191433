"""A run that is stopped after any epoch and resumed ends in the same bytes."""

from pathlib import Path

import pytest

from reid.adapters.events.jsonl_log import JsonlLog
from reid.domain.events import CheckpointSaved, Event
from tests.e2e.program import train


class _Stopped(Exception):  # noqa: N818 - no error: somebody pulled the plug
    pass


@pytest.mark.parametrize(
    ("name", "epoch"),
    [
        ("prompts-state", 1),
        ("prompts-state", 2),
        ("encoder-state", 1),
        ("encoder-state", 2),
        ("encoder-state", 3),
    ],
)
def test_a_resumed_run_ends_in_the_same_bytes(
    people: Path,
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    epoch: int,
) -> None:
    note = JsonlLog.__call__

    def stop(log: JsonlLog, event: Event, /) -> None:
        note(log, event)
        if event == CheckpointSaved(name, epoch):
            raise _Stopped

    with monkeypatch.context() as context:
        context.setattr(JsonlLog, "__call__", stop)
        stopped = train(people, tmp_path / "run", expect=1)
        assert isinstance(stopped.exception, _Stopped)
    train(people, tmp_path / "run", "--resume")
    for file in ("prompts.safetensors", "encoder.safetensors"):
        assert (tmp_path / "run" / file).read_bytes() == (trained / file).read_bytes()
