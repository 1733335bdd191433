"""`python -m benchmarks [PART ...] [--json FILE] [--quick]`: every part, or those named."""

import argparse
import sys
from importlib import import_module
from itertools import chain
from pathlib import Path

from benchmarks.harness import Row, render, render_machine, write_results

PARTS = (
    "evaluation",
    "reranking",
    "search",
    "gallery",
    "service",
    "stage_one",
    "stage_two",
    "embedding",
    "exported",
    "precision",
    "training_input",
    "startup",
)
"""Modules of this package; each has `rows(*, quick: bool) -> list[Row]`."""


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="write the figures here, as a table beside",
    )
    parser.add_argument("--quick", action="store_true", help="small sizes: does it run at all?")
    arguments = parser.parse_args()
    unknown = set(arguments.parts) - set(PARTS)
    if unknown:
        parser.error(f"unknown parts: {', '.join(sorted(unknown))}")
    measured: dict[str, list[Row]] = {}
    for part in arguments.parts or PARTS:
        print(f"measuring {part}", file=sys.stderr)
        measured[part] = import_module(f"benchmarks.{part}").rows(quick=arguments.quick)
        if arguments.json is not None:
            write_results(arguments.json, {part: measured[part]})
    print(render_machine())
    print()
    print(render(list(chain.from_iterable(measured.values()))))


if __name__ == "__main__":
    main()
