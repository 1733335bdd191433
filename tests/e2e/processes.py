"""The program in processes of its own that start at once, torch being loaded."""

import os
import resource
import signal
import sys
from collections.abc import Sequence
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

import reid.adapters.encoders.clip
import reid.container.root  # noqa: F401
from reid.cli.app import app
from tests.adapters.plugin_distributions import write_distribution
from tests.e2e.program import SMALL

TINIEST = (
    *SMALL,
    "encoder.image_size=[32,16]",
    "prompts.epochs=6",
    "prompts.batch_size=6",
    "finetuning.epochs=6",
    "finetuning.identities_per_batch=2",
)
"""Little happens between two savings."""

QUICK = (*TINIEST, "encoder.kind=quick", "prompts.epochs=40", "finetuning.epochs=40")
"""As little as can be, with the encoder that `offer_quick_encoder` offers."""

_QUICK_ENCODER = """
from tests.fakes.encoder import FakeEncoder


def encoder(request):
    return FakeEncoder(name="quick", seed=request.seed)
"""


def offer_quick_encoder(folder: Path) -> None:
    """Make a plug-in in a folder: an encoder of a few hundred numbers, called `quick`."""
    offers = {"reid.encoders": {"quick": "reid_quick:encoder"}}
    write_distribution(folder, name="reid_quick", source=_QUICK_ENCODER, offers=offers)


def training(
    data: Path, directory: Path, *arguments: str | Path, settings: Sequence[str] = TINIEST
) -> list[str]:
    """Word a training."""
    small = [part for setting in settings for part in ("--set", setting)]
    start = ["train", "--recipe", "tiny", "--data", data, "--run", directory]
    return [str(argument) for argument in (*start, *small, *arguments)]


def load_beforehand() -> None:
    """Have processes of a server of forks start with torch and the program loaded."""
    get_context("forkserver").set_forkserver_preload([__name__])


def spawn(
    arguments: list[str],
    output: Path,
    *,
    plugins: Path | None = None,
    more_bytes: int | None = None,
) -> BaseProcess:
    """Run a command; what it says is added to a file.

    With `more_bytes` it may have so much memory beside what it has when it starts.
    """
    load_beforehand()
    process = get_context("forkserver").Process(
        target=work, args=(arguments, output, plugins, more_bytes)
    )
    process.start()
    return process


def work(arguments: list[str], output: Path, plugins: Path | None, more_bytes: int | None) -> None:
    """Be the program."""
    torch.set_num_threads(1)
    # A shell that starts the tests in the background has them ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if more_bytes is not None:
        num_pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = num_pages * resource.getpagesize() + more_bytes
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    if plugins is not None:
        sys.path.insert(0, str(plugins))
    with output.open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.argv = ["reid", *arguments]
    app(arguments)
