"""What a training says and leaves when a signal, or a lack of something, ends it."""

import os
import shutil
import signal
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from reid.adapters.safetensors_file import read_checkpoint
from tests.e2e.processes import QUICK, TINIEST, offer_quick_encoder, spawn, training

LONG = (*QUICK, "finetuning.epochs=20000")
"""Nobody waits for its end."""


class Bench:
    """Trainings in processes, whose words can be read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.directory = folder / "run"
        self._output = folder / "output.txt"
        self._output.touch()
        offer_quick_encoder(folder)

    def begin(self, arguments: list[str], *, more_bytes: int | None = None) -> BaseProcess:
        return spawn(arguments, self._output, plugins=self.folder, more_bytes=more_bytes)

    def begin_long(self, data: Path, *arguments: str) -> BaseProcess:
        """Return when an epoch of stage 2 was saved and the next has begun."""
        said = len(self.said)
        process = self.begin(training(data, self.directory, *arguments, settings=LONG))
        while self.said[said:].partition("Stage 2")[2].count("epoch ") < 2:
            assert process.is_alive(), self.said
            time.sleep(0.01)
        return process

    @property
    def said(self) -> str:
        return self._output.read_text()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_training_with_its_last_epoch_saved(
    few: Path, bench: Bench, number: signal.Signals, code: int
) -> None:
    process = bench.begin_long(few)
    os.kill(process.pid or 0, number)
    process.join()
    assert process.exitcode == code
    assert "encoder-state of epoch" in bench.said
    assert "--resume" in bench.said
    assert "Traceback" not in bench.said
    assert read_checkpoint(bench.directory / "encoder-state.safetensors").header["epoch"]
    names = {path.name for path in bench.directory.iterdir()}
    assert not [name for name in names if name.endswith((".tmp", ".lock"))]


def test_a_second_training_in_a_folder_is_refused_and_the_first_goes_on(
    few: Path, bench: Bench
) -> None:
    first = bench.begin_long(few)
    for arguments in (["--resume"], ["--overwrite"]):
        second = bench.begin(training(few, bench.directory, *arguments, settings=LONG))
        second.join()
        assert second.exitcode == 5
        assert f"in use by another training (process {first.pid} on " in bench.said
    assert first.is_alive()
    first.kill()
    first.join()
    resumed = bench.begin_long(few, "--resume")
    time.sleep(0.2)
    assert resumed.is_alive(), bench.said
    resumed.kill()
    resumed.join()


def test_a_dataset_that_vanishes_stops_the_training_and_its_return_mends_it(
    few: Path, bench: Bench
) -> None:
    data = bench.folder / "people"
    shutil.copytree(few, data)
    uncached = ("--set", "dataset.cache_mib=0")
    process = bench.begin_long(data, *uncached)
    (data / "bounding_box_train").rename(data / "gone")
    process.join()
    assert process.exitcode == 4
    assert "bounding_box_train" in bench.said
    assert "Traceback" not in bench.said
    assert read_checkpoint(bench.directory / "encoder-state.safetensors").header["epoch"]
    (data / "gone").rename(data / "bounding_box_train")
    resumed = bench.begin_long(data, *uncached, "--resume")
    resumed.kill()
    resumed.join()


def test_a_full_disk_stops_the_training_and_room_mends_it(
    few: Path, bench: Bench, small_disk: Callable[[str], Path]
) -> None:
    bench.directory = small_disk("size=1m") / "run"
    process = bench.begin_long(few)
    enroller = bench.directory.parent / "enroller"
    with enroller.open("wb") as file:
        try:
            while True:
                os.write(file.fileno(), bytes(4096))
        except OSError:
            pass
    process.join()
    assert process.exitcode == 5
    assert "No space left on device; free some space" in bench.said
    assert "Traceback" not in bench.said
    for path in bench.directory.glob("*.safetensors"):
        read_checkpoint(path)
    assert not list(bench.directory.glob(".*.tmp"))
    enroller.unlink()
    resumed = bench.begin_long(few, "--resume")
    resumed.kill()
    resumed.join()


def test_a_folder_that_cannot_be_written_is_an_error_before_anything_is_trained(
    few: Path, bench: Bench, small_disk: Callable[[str], Path]
) -> None:
    disk = small_disk("size=1m,ro")
    process = bench.begin(training(few, disk, settings=QUICK))
    process.join()
    assert process.exitcode == 5
    assert "Read-only file system; make its folder writable or name another one" in bench.said
    assert "Traceback" not in bench.said
    assert list(disk.iterdir()) == []


def test_memory_that_really_runs_out_names_the_setting_to_lower(few: Path, bench: Bench) -> None:
    larger = (*TINIEST, "encoder.image_size=[1024,512]", "evaluation.batch_size=1")
    arguments = training(few, bench.directory, settings=larger)
    # Room for one image at a time, not for a batch and its gradients.
    process = bench.begin(arguments, more_bytes=700 * 2**20)
    process.join()
    assert process.exitcode == 3, bench.said
    assert "memory ran out in the encoder stage, epoch 1, step 1, 4 images: lower" in bench.said
    assert "finetuning.identities_per_batch" in bench.said
    assert "Traceback" not in bench.said
    assert read_checkpoint(bench.directory / "prompts.safetensors").tensors
    assert not [path for path in bench.directory.iterdir() if path.name.endswith((".tmp", ".lock"))]
