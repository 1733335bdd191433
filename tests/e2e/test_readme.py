"""Every command of README.md, and of the pages that go on from it, does what it says."""

import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from reid.cli.app import main
from tests.e2e.processes import load_beforehand
from tests.e2e.program import clean_environment

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    *(
        ROOT / "docs" / f"{name}.md"
        for name in (
            "training",
            "models",
            "galleries",
            "settings",
            "service",
            "measurements",
            "reliability",
        )
    ),
]
"""In the order in which their commands are run."""

TEXT = "\n".join(page.read_text() for page in PAGES)
COMMANDS = re.findall(r"^\$ (.+)$", TEXT, flags=re.MULTILINE)
PROGRAMS = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
SHELL = re.findall(r"```sh\n(.*?)```", TEXT, flags=re.DOTALL)
MOST_README_LINES = 220
"""A newcomer reads no more; the rest belongs into the pages."""

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
    blocks = re.findall(r"```console\n(.*?)```", TEXT, flags=re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    assert [line.removeprefix("$ ") for line in lines] == COMMANDS
    assert len(COMMANDS) >= 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All commands, run in the order of the text.

    The first of each kind starts from nothing, as a user's does; torch is loaded for the others.
    """
    place = tmp_path_factory.mktemp("readme")
    kinds: set[str] = set()
    for command in COMMANDS:
        name, *arguments = shlex.split(command)
        assert name == "reid"
        environment = clean_environment() | ({} if arguments[0] == "settings" else QUICK)
        start = run_loaded if arguments[0] in kinds else run_from_nothing
        kinds.add(arguments[0])
        done = start(arguments, place, environment)
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        assert done.stdout
    return place


def run_from_nothing(
    arguments: list[str], folder: Path, environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("reid"), *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def run_loaded(
    arguments: list[str], folder: Path, environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    with TemporaryDirectory() as scratch:
        said = [Path(scratch) / name for name in ("stdout", "stderr")]
        load_beforehand()
        process = get_context("forkserver").Process(
            target=be_the_program, args=(arguments, folder, environment, *said)
        )
        process.start()
        process.join()
        assert process.exitcode is not None
        stdout, stderr = (path.read_text() for path in said)
    return subprocess.CompletedProcess(arguments, process.exitcode, stdout, stderr)


def be_the_program(
    arguments: list[str], folder: Path, environment: dict[str, str], stdout: Path, stderr: Path
) -> None:
    for number, path in enumerate((stdout, stderr), start=1):
        with path.open("w") as file:
            os.dup2(file.fileno(), number)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["reid", *arguments]
    main()


def test_all_commands_run_in_the_order_of_the_text(folder: Path) -> None:
    assert (folder / "runs" / "people" / "evaluation.json").is_file()


def test_the_library_and_the_service_do_what_the_text_says(folder: Path) -> None:
    library, client = PROGRAMS
    assert len(run(folder, sys.executable, "-c", library).splitlines()) >= 16
    serve, *calls = SHELL
    with serving(folder, serve) as port:
        answers = [
            run(folder, *shlex.split(call.replace(f":{PORT}/", f":{port}/")), "--fail", "--silent")
            for call in "".join(calls).splitlines()
        ]
        named = run(folder, sys.executable, "-c", client.replace(f":{PORT}/", f":{port}/"))
    identified, added, forgotten, figures = answers
    assert '"answers":[{' in identified
    assert '"label":"anna"' in added
    assert '"num_images":1' in forgotten
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


@pytest.mark.parametrize(
    "target", sorted(set(re.findall(r"^    make (\w+)", TEXT, flags=re.MULTILINE)))
)
def test_every_make_target_of_the_text_exists(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)


@pytest.mark.parametrize(
    "page", [PAGES[0], *sorted((ROOT / "docs").glob("*.md"))], ids=lambda page: page.name
)
def test_every_link_within_the_repository_leads_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)<?([^)#>]+)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= MOST_README_LINES


def test_every_page_is_linked_from_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    pages = [page.name for page in (ROOT / "docs").glob("*.md")]
    assert [name for name in pages if f"](docs/{name})" not in readme] == []
