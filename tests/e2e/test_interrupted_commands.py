"""What a signal in the midst of writing makes of every command that writes."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
from typer.testing import CliRunner

from reid.adapters.images import contents, files
from reid.adapters.images.given import ImageIntake
from reid.cli.app import app
from reid.service.gallery_service import GalleryService
from reid.service.server import serve
from reid.settings.tasks import ServiceSettings
from tests.e2e.program import clean_environment, run

SIGNALS = [(signal.SIGINT, 130, "Interrupted."), (signal.SIGTERM, 143, "Terminated.")]
COMMANDS = {
    "evaluate": "evaluate --data {people} --run {trained} --no-record --report {place}/page.html",
    "record": "evaluate --data {people} --run {trained} --rerank",
    "identify": "identify {people}/query --run {trained} --gallery {people}/bounding_box_test "
    "--no-cache --report {place}/page.html",
    "gallery build": "gallery build {place}/known {people}/bounding_box_test --run {trained}",
    "gallery export": "gallery export {known} {place}/known.archive",
    "export": "export {place}/exported --run {trained}",
    "report": "report {trained} --page {place}/page.md",
}


@pytest.fixture(scope="module")
def known(people: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("galleries") / "known"
    run("gallery", "build", folder, people / "bounding_box_test", "--run", trained)
    return folder


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> Callable[[signal.Signals], list[int]]:
    """Let a signal come when a file has been written and not yet renamed."""

    def arrange(number: signal.Signals) -> list[int]:
        assert threading.current_thread() is threading.main_thread()
        flush = os.fsync
        flushed: list[int] = []

        def come(handle: int) -> None:
            flush(handle)
            flushed.append(handle)
            if len(flushed) == 1:
                signal.raise_signal(number)

        monkeypatch.setattr(os, "fsync", come)
        return flushed

    return arrange


def files_below(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize(("number", "code", "said"), SIGNALS)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_signal_ends_a_command_cleanly_and_leaves_nothing_half_written(
    people: Path,
    trained: Path,
    known: Path,
    tmp_path: Path,
    interrupted: Callable[[signal.Signals], list[int]],
    command: str,
    number: signal.Signals,
    code: int,
    said: str,
) -> None:
    before = files_below(trained)
    flushed = interrupted(number)
    words = (
        word.format(people=people, trained=trained, known=known, place=tmp_path)
        for word in COMMANDS[command].split()
    )
    result = run(*words, expect=code)
    assert flushed
    assert result.stderr.splitlines()[-1] == said
    assert "Traceback" not in result.output
    assert files_below(trained) == before
    left = list(files_below(tmp_path))
    assert not [name for name in left if not name.startswith("known/")], left
    assert not [name for name in left if name.endswith((".tmp", ".part"))], left


def test_a_signal_while_the_service_starts_ends_it_and_its_thread() -> None:
    class Idle:
        def __init__(self) -> None:
            self.is_closed = False

        def close(self) -> None:
            self.is_closed = True

    service = Idle()

    def interrupt() -> ImageIntake:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        serve(
            lambda: cast(GalleryService, service),
            create_intake=interrupt,
            settings=ServiceSettings(port=0),
            token=None,
            batch_size=1,
            announce=print,
        )
    assert service.is_closed
    assert not [one for one in threading.enumerate() if one.name.startswith("reid-worker")]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_output_that_meets_a_full_disk_is_an_error_and_no_traceback() -> None:
    code = "from reid.cli.app import main; main()"
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", code, "settings", "--json"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env=clean_environment(),
        )
    assert done.returncode == 10
    assert done.stderr == (
        "Error: the output cannot be written: No space left on device; free some space or send it "
        "elsewhere, and try again\n"
    )


FULL_DISK = [
    "identify {people}/query --run {trained} --gallery {people}/bounding_box_test --no-cache "
    "--report {disk}/page.html",
    "evaluate --data {people} --run {trained} --no-record --report {disk}/page.html",
    "evaluate --data {people} --run {disk}/run",
    "report {trained} --page {disk}/page.md",
    "gallery build {disk}/known {people}/bounding_box_test --run {trained}",
    "gallery export {known} {disk}/known.archive",
]


@pytest.mark.parametrize("command", FULL_DISK)
def test_a_full_disk_is_an_error_that_says_so_and_leaves_no_half_of_a_file(
    people: Path, trained: Path, known: Path, small_disk: Callable[[str], Path], command: str
) -> None:
    disk = small_disk("size=20m")
    shutil.copytree(trained, disk / "run")
    enroller = disk / "enroller"
    with enroller.open("wb") as file, contextlib.suppress(OSError):
        while True:
            os.write(file.fileno(), bytes(4096))
    before = files_below(disk)
    words = command.format(people=people, trained=trained, known=known, disk=disk).split()
    result = CliRunner().invoke(app, words)
    assert result.exit_code in (5, 8), result.output
    assert "full" in result.stderr or "No space left on device" in result.stderr
    assert "room" in result.stderr or "free some space" in result.stderr
    assert files_below(disk) == before
    enroller.unlink()
    run(*words)


def test_a_dataset_that_vanishes_stops_an_evaluation_and_nothing_is_recorded(
    people: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Path(shutil.copytree(people, tmp_path / "data"))
    read = files.read_file
    directory = Path(shutil.copytree(trained, tmp_path / "run"))
    before = files_below(directory)

    def vanish(path: Path) -> bytes:
        content = read(path)
        if (data / "bounding_box_test").exists():
            (data / "bounding_box_test").rename(tmp_path / "gone")
        return content

    monkeypatch.setattr(contents, "read_file", vanish)
    result = run("evaluate", "--data", data, "--run", directory, expect=4)
    assert "bounding_box_test" in result.stderr
    assert files_below(directory) == before
    (tmp_path / "gone").rename(data / "bounding_box_test")
    monkeypatch.undo()
    run("evaluate", "--data", data, "--run", directory)
