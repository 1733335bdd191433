"""How long the program takes before and around its work: `--help`, an error, a small `identify`.

The plain side is the least that the same answer needs: the interpreter for help, and the import of
torch and open_clip for `identify`. A ratio below 1 is what the program adds to that.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks.harness import Row, Scale, compare
from reid.adapters.synthetic.generator import DrawnDataset

HELP_SECONDS = 0.5
ERROR_SECONDS = 1.0
"""For what is refused without torch."""

IDENTIFY_SECONDS = 6.0
PROGRAM = "from reid.cli.app import main; main()"


@dataclass(frozen=True)
class Size:
    """How often."""

    runs: int
    warmup: int


FULL = Size(runs=5, warmup=1)
QUICK = Size(runs=1, warmup=0)


def rows(scale: Scale) -> Iterator[Row]:
    """Start the program again and again."""
    size = scale.choose(QUICK, FULL, FULL)
    with tempfile.TemporaryDirectory() as scratch:
        queries, gallery = _images(Path(scratch))
        identify = ["identify", str(queries), "--gallery", str(gallery), "--json", "--no-cache"]
        identify += ["--encoder", "vit-tiny", "--weights", "random"]
        yield _row("reid --help", ["--help"], "pass", limit=HELP_SECONDS, size=size)
        yield _row(
            "reid identify, no such folder",
            ["identify", str(queries / "nowhere"), *identify[2:]],
            "pass",
            limit=ERROR_SECONDS,
            size=size,
            code=4,
        )
        yield _row(
            "reid identify, 10 queries, 16 images, vit-tiny",
            identify,
            "import torch, open_clip",
            limit=IDENTIFY_SECONDS,
            size=size,
        )


def _images(scratch: Path) -> tuple[Path, Path]:
    DrawnDataset(identities=1, test_identities=4, images_per_camera=2, cameras=3).draw(
        scratch / "people"
    )
    folders = []
    for name, source, count in (("q", "query", 10), ("g", "bounding_box_test", 16)):
        folder = scratch / name
        folder.mkdir()
        for image in sorted((scratch / "people" / source).iterdir())[:count]:
            image.rename(folder / image.name)
        folders.append(folder)
    return folders[0], folders[1]


def _row(
    part: str, arguments: list[str], least: str, *, limit: float, size: Size, code: int = 0
) -> Row:
    timing = compare(
        lambda: _run(PROGRAM, *arguments, code=code),
        lambda: _run(least),
        runs=size.runs,
        warmup=size.warmup,
    )
    return Row(
        part=part,
        ours="the whole program",
        plain=f"python -c '{least}'",
        goal=f"< {limit:g} s",
        is_met=timing.ours_seconds < limit,
        exactness=f"exit code {code}",
        # Memory of other processes is not watched.
        **asdict(replace(timing, ours_peak_mib=0.0, plain_peak_mib=0.0)),
    )


def _run(program: str, *arguments: str, code: int = 0) -> None:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], check=False, capture_output=True
    )
    assert done.returncode == code, done.stderr.decode()
