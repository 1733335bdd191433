"""A training that is killed at any moment, and resumed, ends in the same bytes."""

import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from reid.adapters.runs.records import FilesystemRunRecords
from reid.adapters.safetensors_file import read_checkpoint
from tests.e2e.processes import QUICK, TINIEST, offer_quick_encoder, spawn, training

SHARE_OF_ANY_MOMENT = 0.2
FILES = ("prompts.safetensors", "encoder.safetensors")


def phase_of(directory: Path) -> str:
    """Say where a training was when it was killed, from what it wrote."""
    began = [
        line["stage"]
        for line in FilesystemRunRecords(directory).progress()
        if line["event"] == "stage_started"
    ]
    if (directory / FILES[1]).exists():
        return "evaluation"
    return str(began[-1]) if began else "start"


class Killing:
    """Trainings that are killed at random, one after the other."""

    def __init__(self, data: Path, folder: Path, *, seed: int, settings: Sequence[str]) -> None:
        self._data = data
        self._folder = folder
        self._settings = settings
        offer_quick_encoder(folder)
        self._chance = random.Random(seed)
        self._whole = folder / "whole"
        began = time.monotonic()
        assert self._work(self._whole)
        self._seconds = time.monotonic() - began
        events = FilesystemRunRecords(self._whole).progress()
        self._stage_seconds = events[-1]["time"] - events[0]["time"]
        self.phases: Counter[str] = Counter()
        self.num_runs = 0

    def kill(self, num_kills: int) -> None:
        while self.phases.total() < num_kills:
            directory = self._folder / f"run-{self.num_runs}"
            is_done = False
            while not is_done and self.phases.total() < num_kills:
                is_done = self._work(directory, wait=self._wait_at_random)
                if not is_done:
                    self._look_at(directory)
            assert is_done or self._work(directory)
            for file in FILES:
                assert (directory / file).read_bytes() == (self._whole / file).read_bytes()
            left = {path.name for path in directory.iterdir()}
            assert not [name for name in left if name.endswith((".tmp", ".lock"))], left
            assert not [name for name in left if "-state" in name], left
            self.num_runs += 1

    def _look_at(self, directory: Path) -> None:
        for path in directory.glob("*.safetensors"):
            read_checkpoint(path)
        self.phases[phase_of(directory)] += 1

    def _wait_at_random(self, process: BaseProcess, directory: Path) -> None:
        """Wait for any moment of a training, or, more often, of its stages."""
        if self._chance.random() < SHARE_OF_ANY_MOMENT:
            process.join(self._chance.uniform(0, self._seconds))
            return
        log = directory / "metrics.jsonl"
        known = log.stat().st_size if log.exists() else 0
        while process.is_alive() and (log.stat().st_size if log.exists() else 0) == known:
            time.sleep(0.001)
        process.join(self._chance.uniform(0, self._stage_seconds))

    def _work(
        self, directory: Path, *, wait: Callable[[BaseProcess, Path], None] | None = None
    ) -> bool:
        """Train until the end (true) or until the wait is over (false)."""
        goes_on = (directory / "run.json").exists()
        output = self._folder / f"{directory.name}.txt"
        arguments = training(
            self._data, directory, *(["--resume"] if goes_on else []), settings=self._settings
        )
        process = spawn(arguments, output, plugins=self._folder)
        if wait is not None:
            wait(process, directory)
            process.kill()
        process.join()
        assert process.exitcode in (0, -9), output.read_text()
        return process.exitcode == 0


def test_a_killed_training_ends_in_the_same_bytes(few: Path, tmp_path: Path) -> None:
    killing = Killing(few, tmp_path, seed=3, settings=QUICK)
    killing.kill(4)
    assert killing.phases.total() == 4


@pytest.mark.slow
@pytest.mark.parametrize("settings", [QUICK, TINIEST], ids=["quick encoder", "real encoder"])
def test_fifty_kills_in_both_stages_leave_no_trace_in_the_weights(
    few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], settings: Sequence[str]
) -> None:
    killing = Killing(few, tmp_path, seed=50, settings=settings)
    killing.kill(50)
    with capsys.disabled():
        sys.stdout.write(
            f"\n50 kills in {killing.num_runs} trainings, by moment: {dict(killing.phases)}\n"
        )
    assert killing.phases["prompts"] > 0
    assert killing.phases["encoder"] > 0
