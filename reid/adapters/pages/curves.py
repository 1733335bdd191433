"""Learning curves as SVG.

Drawn here and not by a plotting library: a committed figure must come out with the same bytes
everywhere, and theirs change with the library's version and the fonts of the machine.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from reid.domain.values.results import StageCurves

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Told apart by most colour-blind people (Okabe & Ito 2008)."""

TITLES = {"prompts": "Stage 1: prompts", "encoder": "Stage 2: encoder"}

_WIDTH, _HEIGHT = 460, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 110, 34, 44
_NUM_TICKS = 5


@dataclass(frozen=True, slots=True)
class _Axis:
    """Maps values to pixels."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)


def draw_curves(stages: Sequence[StageCurves]) -> str:
    """Draw a panel for each stage: losses over epochs, one line for each term.

    Args:
        stages: At least one, each with at least one epoch.

    Returns:
        An SVG document, the same for the same numbers.
    """
    width = _WIDTH * len(stages)
    svg = ET.Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": f"0 0 {width} {_HEIGHT}",
            "width": str(width),
            "height": str(_HEIGHT),
            "font-family": "sans-serif",
            "font-size": "11",
        },
    )
    ET.SubElement(svg, "rect", {"width": "100%", "height": "100%", "fill": "white"})
    for number, stage in enumerate(stages):
        panel = ET.SubElement(svg, "g", {"transform": f"translate({number * _WIDTH} 0)"})
        _draw_panel(panel, stage)
    ET.indent(svg)
    return ET.tostring(svg, encoding="unicode") + "\n"


def ticks(low: float, high: float) -> tuple[float, ...]:
    """Choose about five round numbers whose span holds the given one; `low` below `high`."""
    rough = (high - low) / _NUM_TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next(round_one for round_one in (1, 2, 5, 10) if round_one * power >= rough)
    first, last = math.floor(low / step), math.ceil(high / step)
    return tuple(step * number for number in range(first, last + 1))


def _draw_panel(panel: ET.Element, stage: StageCurves) -> None:
    values = [value for losses in stage.losses.values() for value in losses]
    marks = ticks(min(0.0, *values), max(1e-6, *values))
    last = max(stage.epochs[-1], 2)
    across = _Axis(1, last, _LEFT, _WIDTH - _RIGHT)
    up = _Axis(marks[0], marks[-1], _HEIGHT - _BOTTOM, _TOP)
    _text(panel, _LEFT, 20, TITLES.get(stage.stage, stage.stage), weight="bold")
    for mark in marks:
        _line(panel, (_LEFT, up(mark)), (_WIDTH - _RIGHT, up(mark)), colour="#dddddd")
        _text(panel, _LEFT - 6, up(mark) + 4, f"{mark:.6g}", anchor="end")
    for epoch in _epoch_marks(last):
        _text(panel, across(epoch), _HEIGHT - _BOTTOM + 16, str(epoch), anchor="middle")
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    _text(panel, middle, _HEIGHT - 8, "epoch", anchor="middle")
    _text(panel, 8, 20, "loss")
    for number, (term, losses) in enumerate(stage.losses.items()):
        colour = COLOURS[number % len(COLOURS)]
        points = [
            (across(epoch), up(loss)) for epoch, loss in zip(stage.epochs, losses, strict=True)
        ]
        _curve(panel, points, colour=colour)
        height = _TOP + 10 + 16 * number
        _line(panel, (_WIDTH - 100, height), (_WIDTH - 82, height), colour=colour, width=2)
        _text(panel, _WIDTH - 76, height + 4, term)


def _epoch_marks(last: int) -> Iterator[int]:
    """Give the first epoch and round ones up to the last."""
    yield 1
    yield from (int(mark) for mark in ticks(0, last) if mark == int(mark) and 1 < mark <= last)


def _curve(panel: ET.Element, points: Sequence[tuple[float, float]], *, colour: str) -> None:
    if len(points) == 1:
        ((x, y),) = points
        dot = {"cx": f"{x:.1f}", "cy": f"{y:.1f}", "r": "3", "fill": colour}
        ET.SubElement(panel, "circle", dot)
        return
    places = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    shape = {"points": places, "fill": "none", "stroke": colour, "stroke-width": "1.5"}
    ET.SubElement(panel, "polyline", shape)


def _line(
    panel: ET.Element,
    start: tuple[float, float],
    end: tuple[float, float],
    *,
    colour: str,
    width: int = 1,
) -> None:
    names = ("x1", "y1", "x2", "y2")
    places = {name: f"{at:.1f}" for name, at in zip(names, (*start, *end), strict=True)}
    ET.SubElement(panel, "line", {**places, "stroke": colour, "stroke-width": str(width)})


def _text(
    panel: ET.Element,
    x: float,
    y: float,
    words: str,
    *,
    anchor: str = "start",
    weight: str = "normal",
) -> None:
    where = {"x": f"{x:.1f}", "y": f"{y:.1f}", "text-anchor": anchor, "font-weight": weight}
    ET.SubElement(panel, "text", where).text = words
