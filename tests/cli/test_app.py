"""The program as a shell sees it."""

import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from reid.cli.app import app
from reid.extras import EXTRAS, describe_extra


def test_the_version_names_what_is_used_and_what_could_be() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert result.exit_code == 0
    first, *packages = result.stdout.splitlines()
    assert re.fullmatch(r"reid \d+\.\d+\.\d+", first)
    assert packages[0] == f"torch {version('torch')}"
    assert [describe_extra(extra) for extra in EXTRAS] == packages[-len(EXTRAS) :]


def test_without_arguments_it_shows_its_commands() -> None:
    result = CliRunner().invoke(app, [])
    assert "settings" in result.output
    assert "dataset" in result.output


@pytest.mark.parametrize("group", [[], ["dataset"], ["gallery"], ["index"]])
def test_no_command_is_described_by_half_a_sentence(group: list[str]) -> None:
    listing = CliRunner().invoke(app, [*group, "--help"], env={"COLUMNS": "80"}).stdout
    _, _, commands = listing.partition("Commands:\n")
    assert commands
    assert [line for line in commands.splitlines() if line.endswith("...")] == []


def test_every_option_is_one_word() -> None:
    def options(command: Any) -> Iterator[str]:
        for parameter in command.params:
            yield from (*parameter.opts, *parameter.secondary_opts)
        for below in getattr(command, "commands", {}).values():
            yield from options(below)

    named = [name for name in options(get_command(app)) if name.startswith("-")]
    assert "--unknown-people" in named
    assert [name for name in named if not re.fullmatch(r"--?[a-z][a-z-]*", name)] == []


def test_an_unknown_command_is_a_usage_error() -> None:
    assert CliRunner().invoke(app, ["settigns"]).exit_code == 2


def test_help_loads_neither_torch_nor_the_settings() -> None:
    code = (
        "import sys\n"
        "from reid.cli.app import main\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as end:\n"
        "    heavy = [m for m in ('torch', 'numpy', 'pydantic', 'rich') if m in sys.modules]\n"
        "    print('loaded', heavy, end.code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=True
    )
    assert "Usage: " in done.stdout
    assert done.stdout.splitlines()[-1] == "loaded [] 0"


def test_every_command_explains_itself() -> None:
    for command in (["settings"], ["dataset", "check"], ["dataset", "generate"]):
        result = CliRunner().invoke(app, [*command, "--help"])
        assert result.exit_code == 0
        assert "--config FILE" in result.stdout
        assert "--set SECTION.KEY=VALUE" in result.stdout


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("evaluate", "--report", "folder"), "is a directory"),
        (("evaluate", "--plots", "file"), "is a file"),
        (("identify", "q", "--gallery", "g", "--report", "folder"), "is a directory"),
        (("calibrate", "q", "--gallery", "g", "--plot", "folder"), "is a directory"),
        (("explain", "q", "g", "--output", "folder"), "is a directory"),
        (("evaluate", "--report", "file"), "file should end in .html or .htm"),
        (("identify", "q", "--gallery", "g", "--report", "q.jpg"), "q.jpg should end in .html"),
        (("report", "run", "--page", "run.json"), "run.json should end in .md"),
    ],
)
def test_a_place_that_a_page_cannot_take_is_refused_before_any_work(
    tmp_path: Path, words: tuple[str, ...], complaint: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    *command, place = words
    result = CliRunner().invoke(app, [*command, str(tmp_path / place)])
    assert result.exit_code == 2
    assert complaint in " ".join(result.stderr.split())
