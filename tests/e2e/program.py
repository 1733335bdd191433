"""The program run as a user runs it, in this process for speed."""

import json
import os
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from reid.cli.app import app

SMALL = (
    "prompts.epochs=2",
    "prompts.batch_size=16",
    "finetuning.epochs=3",
    "finetuning.identities_per_batch=4",
    "finetuning.images_per_identity=2",
    "finetuning.warmup_epochs=1",
    "finetuning.milestones=[2]",
)
"""Settings with which both stages take seconds."""


def run(*arguments: str | Path, expect: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == expect, result.output
    return result


def train(data: Path, directory: Path, *arguments: str | Path, expect: int = 0) -> Result:
    small = [part for setting in SMALL for part in ("--set", setting)]
    return run(
        "train", "--recipe", "tiny", "--data", data, "--run", directory, *small, *arguments,
        expect=expect,
    )  # fmt: skip


def draw_people(
    folder: Path, *, identities: int, test_identities: int, images: int, distractors: int
) -> Path:
    """Draw a dataset of two cameras, with so many images of a person by each."""
    run(
        "dataset", "generate", folder, "--identities", str(identities),
        "--test-identities", str(test_identities), "--cameras", "2",
        "--images-per-camera", str(images), "--distractors", str(distractors),
    )  # fmt: skip
    return folder


def as_json(result: Result) -> Any:
    return json.loads(result.stdout)


def without_settings(environment: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if not name.startswith("REID_")}


def clean_environment() -> dict[str, str]:
    return without_settings(dict(os.environ))
