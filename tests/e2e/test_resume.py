"""A run that is stopped after any epoch and resumed ends in the same bytes."""

import json
from pathlib import Path

import pytest

from reid.adapters.events.jsonl_log import JsonlLog
from reid.adapters.safetensors_file import read_checkpoint
from reid.domain.events import CheckpointSaved, Event
from tests.e2e.program import as_json, run, train


class _Stopped(Exception):  # noqa: N818 - no error: somebody pulled the plug
    pass


def stop_training(
    people: Path, run: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str, after: Event
) -> None:
    note = JsonlLog.__call__

    def stop(log: JsonlLog, event: Event, /) -> None:
        note(log, event)
        if event == after:
            raise _Stopped

    with monkeypatch.context() as context:
        context.setattr(JsonlLog, "__call__", stop)
        stopped = train(people, run, *arguments, expect=1)
        assert isinstance(stopped.exception, _Stopped)


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
    stop_training(people, tmp_path / "run", monkeypatch, after=CheckpointSaved(name, epoch))
    train(people, tmp_path / "run", "--resume")
    for file in ("prompts.safetensors", "encoder.safetensors"):
        assert (tmp_path / "run" / file).read_bytes() == (trained / file).read_bytes()


ABLATION = tuple(
    part
    for setting in (
        "encoder.pooling=gem",
        "finetuning.ema_decay=0.9",
        "finetuning.sampling=cameras",
        "finetuning.random_patch_probability=0.5",
    )
    for part in ("--set", setting)
)


def test_a_run_with_all_that_random_weights_want_is_resumed_and_evaluated_as_it_was_trained(
    people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    train(people, whole, *ABLATION)
    saved = CheckpointSaved("encoder-state", 2)
    stop_training(people, resumed, monkeypatch, *ABLATION, after=saved)
    train(people, resumed, *ABLATION, "--resume")
    file = "encoder.safetensors"
    assert (resumed / file).read_bytes() == (whole / file).read_bytes()
    assert "average." not in " ".join(read_checkpoint(whole / file).tensors)
    as_trained = json.loads((whole / "evaluation.json").read_text())["report"]
    evaluated = as_json(run("evaluate", "--run", whole, "--data", people, "--json"))["report"]
    assert evaluated == as_trained
    fingerprint = json.loads((whole / "run.json").read_text())["fingerprint"]
    assert fingerprint["encoder.pooling"] == "gem"
    assert fingerprint["finetuning.ema_decay"] == 0.9
