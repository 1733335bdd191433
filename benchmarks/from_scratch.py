"""`python -m benchmarks.from_scratch --data ROOT`: both CLIP encoders from random weights.

Trains and evaluates each recipe on Market-1501 by the program's own commands, which are printed,
and writes a page about the runs. Interrupted, the same call goes on where it stopped.
"""

import argparse
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from reid.settings.loading import settings_of_recipe

RECIPES = ("scratch-rn50", "scratch-vit-b16")

_PROGRAM = (sys.executable, "-c", "from reid.cli.app import main; main()")
_MANIFEST = "run.json"
_SMALL_KINDS = {"scratch-rn50": "rn-tiny", "scratch-vit-b16": "vit-tiny"}
_QUICK = {
    "encoder.image_size": "[64,32]",
    "prompts.epochs": "1",
    "prompts.batch_size": "8",
    "finetuning.identities_per_batch": "4",
    "finetuning.images_per_identity": "2",
}
_QUICK_RERANKING = {"reranking.k1": "4", "reranking.k2": "2"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the commands until one fails.

    Returns:
        0, or the exit status of the command that failed.
    """
    asked = _parser().parse_args(arguments)
    for command in commands(asked):
        print(f"$ {shlex.join(['reid', *command])}", flush=True)
        status = subprocess.run([*_PROGRAM, *command], check=False).returncode
        if status != 0:
            print(
                f"stopped with exit status {status}; the same call goes on from here",
                file=sys.stderr,
            )
            return status
    return 0


def commands(asked: argparse.Namespace) -> Iterator[list[str]]:
    """Give the commands one by one; each is made when those before it are done."""
    recipes = list(dict.fromkeys(asked.recipe or RECIPES))
    for recipe in recipes:
        run = asked.runs / recipe
        changes = _changes(recipe, epochs=asked.epochs, is_quick=asked.quick)
        changed = _options([*_assignments(changes), *asked.set])
        shared = ["--data", str(asked.data), "--run", str(run), "--device", asked.device]
        # A finished run is evaluated anew and stays as it is.
        going_on = ["--resume"] if (run / _MANIFEST).exists() else []
        yield ["train", "--stage", "all", "--recipe", recipe, *shared, *changed, *going_on]
        reranking = _assignments(_QUICK_RERANKING) if asked.quick else []
        yield ["evaluate", *shared, "--rerank", *_options(reranking)]
    yield [
        "report",
        *(str(asked.runs / recipe) for recipe in recipes),
        "--page",
        str(asked.page or asked.runs / "results.md"),
        "--collect",
    ]


def _changes(recipe: str, *, epochs: int | None, is_quick: bool) -> Mapping[str, str]:
    changes: dict[str, str] = {}
    if is_quick:
        changes |= {"encoder.kind": _SMALL_KINDS[recipe], **_QUICK}
    number = epochs or (1 if is_quick else None)
    if number is not None:
        # A tenth at most, or a short training would be all warm-up.
        usual = settings_of_recipe(recipe).finetuning.warmup_epochs
        changes["finetuning.epochs"] = str(number)
        changes["finetuning.warmup_epochs"] = str(min(usual, number // 10))
    return changes


def _assignments(changes: Mapping[str, str]) -> list[str]:
    return [f"{key}={value}" for key, value in changes.items()]


def _options(assignments: Sequence[str]) -> list[str]:
    return [part for assignment in assignments for part in ("--set", assignment)]


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.from_scratch",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, required=True, metavar="ROOT", help="Market-1501")
    parser.add_argument(
        "--recipe", action="append", choices=RECIPES, help="this alone; may be repeated"
    )
    parser.add_argument(
        "--epochs", type=_positive, metavar="N", help="of stage 2, instead of the recipe's"
    )
    parser.add_argument(
        "--runs", type=Path, default=Path("runs/from-scratch"), metavar="DIR", help="where runs go"
    )
    parser.add_argument(
        "--page", type=Path, metavar="FILE", help="what is written (DIR/results.md)"
    )
    parser.add_argument("--device", default="auto", metavar="NAME", help="as of reid train")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="any setting of the training",
    )
    parser.add_argument(
        "--quick", action="store_true", help="tiny encoders, few steps: does it run at all?"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
