"""Every command of README.md does what it says."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.program import clean_environment

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
COMMANDS = re.findall(r"^\$ (.+)$", README, flags=re.MULTILINE)
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


def test_all_commands_run_in_the_order_of_the_text(tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("reid")
    for command in COMMANDS:
        name, *arguments = shlex.split(command)
        assert name == "reid"
        quick = {} if arguments[0] == "settings" else QUICK
        done = subprocess.run(
            [program, *arguments],
            cwd=tmp_path,
            env=clean_environment() | quick,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        assert done.stdout


@pytest.mark.parametrize("target", re.findall(r"^    make (\w+)", README, flags=re.MULTILINE))
def test_every_make_target_of_the_text_exists(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
