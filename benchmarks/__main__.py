"""`python -m benchmarks [PART ...] [--json FILE] [--quick | --full]`: every part, or some."""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path

from benchmarks.harness import Row, Scale, print_rows, render_machine, write_results

PARTS = {
    "evaluation": (240, 600),
    "reranking": (90, 700),
    "search": (200, 600),
    "gallery": (60, 60),
    "service": (150, 300),
    "stage_one": (90, 150),
    "stage_two": (240, 1500),
    "embedding": (60, 90),
    "exported": (120, 180),
    "precision": (150, 600),
    "training_input": (30, 30),
    "startup": (60, 60),
}
"""Modules of this package, each with `rows(scale: Scale) -> Iterator[Row]`, and about how many
seconds they take on two cores with AVX2, as usual and in full."""


def main() -> None:
    """Measure, print each row as it is measured, write JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the figures here, as a table beside"
    )
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--quick", action="store_true", help="small sizes: does it run at all?")
    sizes.add_argument("--full", action="store_true", help="the largest sizes, which take long")
    arguments = parser.parse_args()
    unknown = set(arguments.parts) - set(PARTS)
    if unknown:
        parser.error(f"unknown parts: {', '.join(sorted(unknown))}")
    scale = Scale.QUICK if arguments.quick else Scale.FULL if arguments.full else Scale.USUAL
    print(render_machine(), end="\n\n", flush=True)
    print_rows(measured(arguments.parts or tuple(PARTS), scale, json=arguments.json))


def measured(parts: Sequence[str], scale: Scale, *, json: Path | None) -> Iterator[Row]:
    """Measure parts one after another, and say how long the rest takes.

    Args:
        parts: Names.
        scale: How much work.
        json: Written as soon as a part is done; None: nothing is.
    """
    for number, part in enumerate(parts):
        later = sum(_seconds(name, scale) for name in parts[number + 1 :])
        began = time.monotonic()
        _report(part, _seconds(part, scale), later)
        found = []
        for row in import_module(f"benchmarks.{part}").rows(scale):
            found.append(row)
            yield row
            _report(part, _seconds(part, scale) - (time.monotonic() - began), later)
        if json is not None:
            write_results(json, {part: found})


def _report(part: str, left: float, later: float) -> None:
    after = f", then {_duration(later)} for the other parts" if later else ""
    print(f"{part}: {_duration(left)} left{after}", file=sys.stderr, flush=True)


def _duration(seconds: float) -> str:
    if seconds < 60:
        return "less than a minute"
    return f"about {seconds / 60:.0f} min"


def _seconds(part: str, scale: Scale) -> int:
    usual, full = PARTS[part]
    return scale.choose(0, usual, full)


if __name__ == "__main__":
    main()
