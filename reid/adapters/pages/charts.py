"""Charts as SVG: the same numbers make the same bytes on every machine.

Figures are kept under version control, and the output of plotting libraries changes with their
version and the machine's fonts.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from markupsafe import Markup

from reid.adapters.pages.documents import templates
from reid.domain.values.analyses import CameraPairs, MapPoint, SimilarityHistogram
from reid.domain.values.open_set import OpenSetReport
from reid.domain.values.results import StageCurves

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Distinct for most colour-blind people (Okabe & Ito 2008)."""

_STAGES = {"prompts": "Stage 1: prompts", "encoder": "Stage 2: encoder"}
_NUM_TICKS = 5
_SIZE = {"width": 520, "height": 320}
_PANEL_SIZE = {"width": 460, "height": 300}
_MAP_SIZE = 520
_SHAPES = 4

_Points: TypeAlias = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """What is measured along a side of a plot."""

    name: str
    marks: Sequence[float]  # labelled values
    low: float
    high: float
    is_logarithmic: bool = False  # if so, `low` is above 0, and smaller values are drawn there
    show: Callable[[float], str] = "{:.6g}".format

    def share(self, value: float) -> float:
        """Return the place of a value, from 0 at `low` to 1 at `high`."""
        if not self.is_logarithmic:
            return (value - self.low) / (self.high - self.low)
        low, high = math.log10(self.low), math.log10(self.high)
        return (math.log10(max(value, self.low)) - low) / (high - low)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """A rectangle of pixels between two axes."""

    across: Axis
    up: Axis
    left: int
    right: int
    top: int
    bottom: int
    name_of_up_at: tuple[float, float]

    def x(self, value: float) -> float:
        """Return the pixel of a value of `across`."""
        return self.left + self.across.share(value) * (self.right - self.left)

    def y(self, value: float) -> float:
        """Return the pixel of a value of `up`."""
        return self.bottom - self.up.share(value) * (self.bottom - self.top)


_plane = partial(Plane, left=52, right=504, top=26, bottom=276, name_of_up_at=(4, 10))
_panel = partial(Plane, left=56, right=350, top=34, bottom=256, name_of_up_at=(8, 20))


def draw_cmc(cmc: Sequence[float]) -> Markup:
    """Draw the share of queries whose first match is at a rank or better, over the rank."""
    ranks = [1.0, *(mark for mark in ticks(0, max(len(cmc), 2)) if mark > 1)]
    shares = [mark for mark in ticks(min(0.9, *cmc), 1.0) if mark < 1.0 + 1e-9]
    points = list(enumerate(cmc, 1))
    return _draw(
        "cmc",
        plane=_plane(across=_spanning(ranks, "rank"), up=_spanning(shares, "queries", "{:.0%}")),
        points=points,
        marked=[(rank, share) for rank, share in points if rank in (1, 5, 10, 20)],
        colour=COLOURS[0],
        **_SIZE,
    )


def draw_histogram(histogram: SimilarityHistogram) -> Markup:
    """Draw the similarities of images of one person and of different people, as shares."""
    kinds = (
        ("same person", COLOURS[2], histogram.same),
        ("different people", COLOURS[1], histogram.different),
    )
    shares = [[count / (sum(counts) or 1) for count in counts] for *_, counts in kinds]
    used = [n for n, pair in enumerate(zip(*shares, strict=True)) if any(pair)] or [0]
    shown = slice(used[0], used[-1] + 1)
    edges = histogram.edges[used[0] : used[-1] + 2]
    heights = ticks(0.0, max(1e-6, *map(max, shares)))
    return _draw(
        "histogram",
        plane=_plane(
            across=_spanning(ticks(edges[0], edges[-1]), "similarity (cosine)", "{:.4g}"),
            up=_spanning(heights, "pairs", "{:.4g}"),
        ),
        edges=edges,
        kinds=[
            (words, colour, sum(counts), share[shown])
            for (words, colour, counts), share in zip(kinds, shares, strict=True)
        ],
        **_SIZE,
    )


def draw_camera_pairs(pairs: CameraPairs) -> Markup:
    """Draw a matrix: a row per query camera, a column per gallery camera."""
    return _draw("camera_pairs", pairs=pairs, colour=COLOURS[0])


def draw_map(points: Sequence[MapPoint]) -> Markup:
    """Draw images in the plane, a colour and shape per person, queries ringed; no axes."""
    numbers = {label: n for n, label in enumerate(dict.fromkeys(p.label for p in points))}
    reach = max((abs(value) for p in points for value in (p.x, p.y)), default=0.0) or 1.0
    middle, scale = _MAP_SIZE / 2, (_MAP_SIZE / 2 - 14) / reach
    marks = []
    for point in points:
        shape, colour = divmod(numbers[point.label], len(COLOURS) - 1)
        place = (middle + scale * point.x, middle - scale * point.y)
        marks.append((point, _outline(shape % _SHAPES, *place), COLOURS[colour]))
    return _draw("map", marks=marks, size=_MAP_SIZE)


def draw_curves(stages: Sequence[StageCurves]) -> str:
    """Draw an SVG document of at least one stage's losses over epochs, a line for each term."""
    panels = []
    for stage in stages:
        last = max(stage.epochs[-1], 2)
        epochs = [1.0, *(m for m in ticks(0, last) if m == int(m) and 1 < m <= last)]
        values = [value for losses in stage.losses.values() for value in losses]
        plane = _panel(
            across=Axis(name="epoch", low=1, high=last, marks=epochs),
            up=_spanning(ticks(min(0.0, *values), max(1e-6, *values)), "loss"),
        )
        lines = {
            term: list(zip(stage.epochs, losses, strict=True))
            for term, losses in stage.losses.items()
        }
        panels.append((_STAGES.get(stage.stage, stage.stage), plane, list(_coloured(lines))))
    return standalone(_draw("panels", title="Learning curves", shown=panels, **_PANEL_SIZE))


def draw_open_set(reports: Mapping[str, OpenSetReport]) -> str:
    """Draw an SVG document of identification rate over false-accept rate, a line per report."""
    lowest = min(report.resolution for report in reports.values())
    plane = _panel(
        across=Axis(
            name="false-accept rate (share of unknown people named)",
            low=min(lowest, 0.1),
            high=1.0,
            marks=[m for m in (float(f"1e-{n}") for n in range(12)) if m >= lowest * 0.999],
            is_logarithmic=True,
        ),
        up=_spanning(ticks(0.0, 1.0), ""),
    )
    lines = {
        # A rate of 0 has no place on a logarithmic axis.
        name: [point for point in report.curve if point[0] > 0]
        for name, report in reports.items()
    }
    title = "Identification rate"
    panel = (title, plane, list(_coloured(lines)))
    return standalone(_draw("panels", title=title, shown=[panel], **_PANEL_SIZE))


def standalone(chart: Markup) -> str:
    """Make an SVG file of a chart: dark on white."""
    opening, rest = chart.split(">", 1)
    return f'{opening}>\n<rect width="100%" height="100%" fill="white"/>{rest}\n'


def ticks(low: float, high: float) -> tuple[float, ...]:
    """Choose about five round numbers that span `low` to `high`, which is larger."""
    rough = (high - low) / _NUM_TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next(round_one for round_one in (1, 2, 5, 10) if round_one * power >= rough)
    first, last = math.floor(low / step), math.ceil(high / step)
    return tuple(step * number for number in range(first, last + 1))


def _draw(macro: str, **values: object) -> Markup:
    """Call a macro of `charts.svg`, which escapes the values."""
    return Markup(getattr(templates().get_template("charts.svg").module, macro)(**values).strip())


def _spanning(marks: Sequence[float], name: str, form: str = "{:.6g}") -> Axis:
    return Axis(name=name, marks=marks, low=marks[0], high=marks[-1], show=form.format)


def _coloured(lines: Mapping[str, _Points]) -> Iterator[tuple[str, _Points, str]]:
    for row, (name, points) in enumerate(lines.items()):
        yield name, points, COLOURS[row % len(COLOURS)]


def _outline(shape: int, x: float, y: float) -> str:
    if shape == 0:
        return f"M{x - 4:.1f} {y:.1f}a4 4 0 1 0 8 0a4 4 0 1 0 -8 0Z"
    corners, turn, radius = ((4, 0.25, 5.0), (3, -0.5, 5.5), (4, 0.0, 5.5))[shape - 1]
    angles = [math.pi * (turn + 2 * n / corners) for n in range(corners)]
    points = [f"{x + radius * math.cos(a):.1f} {y + radius * math.sin(a):.1f}" for a in angles]
    return f"M{'L'.join(points)}Z"
