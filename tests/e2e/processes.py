"""The program in processes of its own that start at once, torch being loaded."""

import os
import sys
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

import reid.assembly
import reid.container  # noqa: F401 - loaded once, for all
from reid.cli.app import app
from tests.e2e.program import SMALL

TINIEST = (
    *SMALL,
    "encoder.image_size=[32,16]",
    "prompts.epochs=6",
    "prompts.batch_size=6",
    "finetuning.epochs=6",
    "finetuning.identities_per_batch=2",
)


def training(data: Path, directory: Path, *arguments: str | Path) -> list[str]:
    """Word a training in which little happens between two savings."""
    settings = [part for setting in TINIEST for part in ("--set", setting)]
    start = ["train", "--recipe", "tiny", "--data", data, "--run", directory]
    return [str(argument) for argument in (*start, *settings, *arguments)]


def spawn(arguments: list[str], output: Path) -> BaseProcess:
    """Run a command; what it says is added to a file."""
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__])
    process = context.Process(target=work, args=(arguments, output))
    process.start()
    return process


def work(arguments: list[str], output: Path) -> None:
    """Be the program."""
    torch.set_num_threads(1)
    with output.open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.argv = ["reid", *arguments]
    app(arguments)
