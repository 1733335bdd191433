"""Every command of README.md does what it says."""

import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.program import clean_environment

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
COMMANDS = re.findall(r"^\$ (.+)$", README, flags=re.MULTILINE)
PROGRAMS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
SHELL = re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)
PORT = "8000"
"""As the text says; the test takes one that is free."""

QUICK = {
    "REID_PROMPTS__EPOCHS": "1",
    "REID_FINETUNING__EPOCHS": "2",
    "REID_FINETUNING__MILESTONES": "[1]",
    "REID_FINETUNING__WARMUP_EPOCHS": "1",
}
"""The commands stay as written; only the training is cut short."""


def test_every_console_block_holds_commands_and_nothing_else() -> None:
    blocks = re.findall(r"```console\n(.*?)```", README, flags=re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    assert [line.removeprefix("$ ") for line in lines] == COMMANDS
    assert len(COMMANDS) >= 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All commands, run in the order of the text."""
    place = tmp_path_factory.mktemp("readme")
    program = Path(sys.executable).with_name("reid")
    for command in COMMANDS:
        name, *arguments = shlex.split(command)
        assert name == "reid"
        quick = {} if arguments[0] == "settings" else QUICK
        done = subprocess.run(
            [program, *arguments],
            cwd=place,
            env=clean_environment() | quick,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        assert done.stdout
    return place


def test_all_commands_run_in_the_order_of_the_text(folder: Path) -> None:
    assert (folder / "runs" / "people" / "evaluation.json").is_file()


def test_the_library_and_the_service_do_what_the_text_says(folder: Path) -> None:
    library, client = PROGRAMS
    assert len(run(folder, sys.executable, "-c", library).splitlines()) >= 16
    serve, calls = SHELL
    with serving(folder, serve) as port:
        answers = [
            run(folder, *shlex.split(call.replace(f":{PORT}/", f":{port}/")), "--fail", "--silent")
            for call in calls.splitlines()
        ]
        named = run(folder, sys.executable, "-c", client.replace(f":{PORT}/", f":{port}/"))
    identified, added, forgotten, figures = answers
    assert '"answers":[{' in identified
    assert '"label":"anna"' in added
    assert '"num_pictures":1' in forgotten
    assert 'route="/identify",status="200"} 1.0' in figures
    assert len(named.splitlines()) == 4


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(
        command, cwd=folder, env=clean_environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stderr}"
    return done.stdout


@contextmanager
def serving(folder: Path, command: str) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    name, *arguments = shlex.split(command.replace(PORT, str(port)))
    program = Path(sys.executable).with_name(name)
    with subprocess.Popen(
        [program, *arguments],
        cwd=folder,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().strip() == f"http://127.0.0.1:{port}"
            yield port
        finally:
            process.terminate()
            assert process.wait(timeout=60) == 0


@pytest.mark.parametrize("target", re.findall(r"^    make (\w+)", README, flags=re.MULTILINE))
def test_every_make_target_of_the_text_exists(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
