"""Time two ways of doing the same thing in turn, and say how far apart their results are.

The two run interleaved, A B A B, so that a machine whose speed drifts slows both. What is quoted is
the median of the ratios of neighbouring pairs; single times belong to one machine and one minute.
"""

import gc
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from enum import Enum, auto
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import get_context
from pathlib import Path
from threading import Event, Thread
from typing import Any, TypeVar

import torch

T = TypeVar("T")

_PRODUCTS = 5
_PRODUCT_SECONDS = 2.0
"""Spent on the rate of a matrix product."""

PACKAGES = (
    "clip-reid",
    "torch",
    "torchvision",
    "numpy",
    "scipy",
    "pillow",
    "simplejpeg",
    "numba",
    "openvino",
    "annoy",
    "faiss-cpu",
)


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    part: str
    """What was timed, with its size."""

    ours: str
    plain: str
    """The two ways in a few words."""

    ours_seconds: float
    plain_seconds: float
    """Medians."""

    ratio: float
    """Median over pairs of plain seconds / ours seconds: how many times faster ours is."""

    goal: str
    is_met: bool
    exactness: str
    """How far ours is from the oracle, in the quantity that matters."""

    ours_peak_mib: float
    plain_peak_mib: float
    """Growth of resident memory while running, above what was held before."""

    runs: int
    details: dict[str, float | str] = field(default_factory=dict)


@dataclass(frozen=True)
class Timing:
    """What `compare` measured."""

    ours_seconds: float
    plain_seconds: float
    ratio: float
    ours_peak_mib: float
    plain_peak_mib: float
    runs: int


@dataclass(frozen=True)
class Alone:
    """What `run_alone` measured."""

    seconds: float
    peak_mib: float
    """Growth of resident memory, above what the prepared input took."""


class Scale(Enum):
    """How much work a part does."""

    QUICK = auto()
    """Seconds: does it run at all?"""

    USUAL = auto()
    """Under five minutes a part on two cores."""

    FULL = auto()
    """The sizes that results are published for; a part may take half an hour."""

    def choose(self, quick: T, usual: T, full: T) -> T:
        """Choose one of three sizes."""
        return {Scale.QUICK: quick, Scale.USUAL: usual, Scale.FULL: full}[self]


def run_alone(prepare: Callable[..., Callable[[], object]], *arguments: object) -> Alone:
    """Run work once in a process of its own.

    Memory that a process has freed often stays resident, and later work that takes it again seems
    to need none: only a fresh process shows the whole of it. A fork of a server that has done no
    work is as fresh as one that starts from nothing.

    Args:
        prepare: Function of a module, called in that process: builds the input, warms the
            libraries up by something small and returns the work.
        arguments: Of `prepare`.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("forkserver")) as pool:
        return pool.submit(_run_prepared, prepare, *arguments).result()


def _run_prepared(prepare: Callable[..., Callable[[], object]], *arguments: object) -> Alone:
    seconds, peak = _timed(prepare(*arguments), 0.0)
    return Alone(seconds=seconds, peak_mib=peak)


def compare(
    ours: Callable[[], object],
    plain: Callable[[], object],
    *,
    runs: int = 5,
    warmup: int = 1,
    plain_runs: int | None = None,
) -> Timing:
    """Run both in turn, after a warm-up that does not count.

    Args:
        ours: Our way.
        plain: The other way.
        runs: Pairs.
        warmup: Pairs that are thrown away.
        plain_runs: Run the plain way only so many times (it may take minutes); its last time then
            stands for the remaining pairs.
    """
    times: list[tuple[float, float]] = []
    peaks = [0.0, 0.0]
    slow = runs if plain_runs is None else plain_runs
    for number in range(-warmup, runs):
        mine, peaks[0] = _timed(ours, peaks[0])
        if number < slow and (number >= 0 or plain_runs is None):
            other, peaks[1] = _timed(plain, peaks[1])
        if number >= 0:
            times.append((mine, other))
    return Timing(
        ours_seconds=statistics.median(pair[0] for pair in times),
        plain_seconds=statistics.median(pair[1] for pair in times),
        ratio=statistics.median(pair[1] / pair[0] for pair in times),
        ours_peak_mib=peaks[0],
        plain_peak_mib=peaks[1],
        runs=runs,
    )


def _timed(work: Callable[[], object], peak: float) -> tuple[float, float]:
    gc.collect()
    with peak_memory() as memory:
        began = time.perf_counter()
        work()
        seconds = time.perf_counter() - began
    return seconds, max(peak, memory[0])


@contextmanager
def peak_memory() -> Iterator[list[float]]:
    """Watch resident memory from another thread; the list's one entry is the growth in MiB."""
    before, done, growth = _resident_mib(), Event(), [0.0]

    def watch() -> None:
        while not done.wait(0.002):
            growth[0] = max(growth[0], _resident_mib() - before)

    watcher = Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield growth
    finally:
        growth[0] = max(growth[0], _resident_mib() - before)
        done.set()
        watcher.join()


def _resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def machine() -> dict[str, str | int]:
    """Say what the figures were measured on."""
    facts: dict[str, str | int] = {
        "processor": _processor(),
        "cores": os.cpu_count() or 0,
        "threads": torch.get_num_threads(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "device": _accelerator(),
        "fp32_gflops": matrix_gflops(torch.float32),
        "bf16_gflops": matrix_gflops(torch.bfloat16),
    }
    for name in PACKAGES:
        try:
            facts[name] = version(name)
        except PackageNotFoundError:
            facts[name] = "not installed"
    return facts


@cache
def matrix_gflops(dtype: torch.dtype, *, width: int = 2048) -> int:
    """Measure what a square matrix product reaches on the CPU: the limit of every encoder on it.

    A type that the processor has no instructions for may be a hundred times as slow: it is
    multiplied at a smaller size, and not again where that takes long.
    """
    for side in (width // 8, width):
        square = torch.ones(side, side, dtype=dtype)
        times: list[float] = []
        while len(times) < _PRODUCTS and sum(times) < _PRODUCT_SECONDS:
            began = time.perf_counter()
            square @ square
            times.append(time.perf_counter() - began)
        if min(times) * (width / side) ** 3 > _PRODUCT_SECONDS:
            break
    return round(2 * side**3 / min(times) / 1e9)


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":")[1].strip() for line in lines if "model name" in line), "unknown")


def _accelerator() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "none"


def write_results(path: Path, parts: Mapping[str, Sequence[Row]]) -> None:
    """Write what was measured as JSON, and beside it as tables with the ending `.md`.

    Parts that the file has and that were not measured now stay, each with its own machine.

    Args:
        path: Of the JSON.
        parts: Rows by part.
    """
    known = json.loads(path.read_text())["parts"] if path.exists() else {}
    fresh = {
        name: {"machine": machine(), "rows": [asdict(row) for row in rows]}
        for name, rows in parts.items()
    }
    content = known | fresh
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"parts": content}, indent=2) + "\n")
    path.with_suffix(".md").write_text(_render_parts(content) + "\n")


def _render_parts(content: Mapping[str, Mapping[str, Any]]) -> str:
    """One table for all parts that were measured on the same machine, whose rates vary a little."""
    facts: dict[str, str] = {}
    rows: dict[str, list[Row]] = {}
    for part in content.values():
        lasting = {name: fact for name, fact in part["machine"].items() if "gflops" not in name}
        machine_name = _render_facts(lasting)
        facts.setdefault(machine_name, _render_facts(part["machine"]))
        rows.setdefault(machine_name, []).extend(Row(**row) for row in part["rows"])
    return "\n\n".join(f"{facts[name]}\n\n{render(found)}" for name, found in rows.items())


def render_machine() -> str:
    """List what the figures were measured on."""
    return _render_facts(machine())


def _render_facts(facts: Mapping[str, object]) -> str:
    return "\n".join(f"- {name}: {fact}" for name, fact in facts.items())


COLUMNS = ("part", "ours", "plain", "time", "ratio", "goal", "met", "exactness", "peak MiB")
HEAD = f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|"


def render(rows: Sequence[Row]) -> str:
    """Tabulate the rows as Markdown; times and peaks are ours / plain."""
    return "\n".join([HEAD, *map(_render_row, rows)])


def print_rows(rows: Iterable[Row]) -> list[Row]:
    """Print the table's head, then each row as soon as it is measured."""
    print(HEAD, flush=True)
    found = []
    for row in rows:
        print(_render_row(row), flush=True)
        found.append(row)
    return found


def _render_row(row: Row) -> str:
    cells = (
        row.part,
        row.ours,
        row.plain,
        f"{_time(row.ours_seconds)} / {_time(row.plain_seconds)}",
        f"{row.ratio:.2f}",
        row.goal,
        "yes" if row.is_met else "no",
        row.exactness,
        f"{row.ours_peak_mib:.0f} / {row.plain_peak_mib:.0f}",
    )
    return f"| {' | '.join(cells)} |"


def _time(seconds: float) -> str:
    return f"{seconds * 1e3:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"
