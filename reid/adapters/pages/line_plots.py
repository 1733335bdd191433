"""Line plots as SVG.

Drawn here and not by a plotting library: a committed figure must come out with the same bytes
everywhere, and theirs change with the library's version and the fonts of the machine.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as ET

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Told apart by most colour-blind people (Okabe & Ito 2008)."""

_WIDTH, _HEIGHT = 460, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 110, 34, 44
_NUM_TICKS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """What is measured along a side of a panel."""

    name: str
    low: float
    high: float
    marks: tuple[float, ...]
    """Values that are written down."""

    is_logarithmic: bool = False
    """`low` is above 0 then; smaller values stand at the end."""

    def share(self, value: float) -> float:
        """Say where a value stands, from 0 at `low` to 1 at `high`."""
        if not self.is_logarithmic:
            return (value - self.low) / (self.high - self.low)
        low, high = math.log10(self.low), math.log10(self.high)
        return (math.log10(max(value, self.low)) - low) / (high - low)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line, which the legend names."""

    name: str
    points: Sequence[tuple[float, float]]
    """At least one; a single one is a dot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """Lines between the same two axes."""

    title: str
    across: Axis
    up: Axis
    lines: Sequence[Line]


def draw_panels(panels: Sequence[Panel]) -> str:
    """Draw panels beside each other.

    Returns:
        An SVG document, the same for the same numbers.
    """
    width = _WIDTH * len(panels)
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
    for number, panel in enumerate(panels):
        group = ET.SubElement(svg, "g", {"transform": f"translate({number * _WIDTH} 0)"})
        _draw_axes(group, panel)
        for row, line in enumerate(panel.lines):
            _draw_line(group, panel, line, row=row)
    ET.indent(svg)
    return ET.tostring(svg, encoding="unicode") + "\n"


def ticks(low: float, high: float) -> tuple[float, ...]:
    """Choose about five round numbers whose span holds the given one; `low` below `high`."""
    rough = (high - low) / _NUM_TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next(round_one for round_one in (1, 2, 5, 10) if round_one * power >= rough)
    first, last = math.floor(low / step), math.ceil(high / step)
    return tuple(step * number for number in range(first, last + 1))


def _draw_axes(group: ET.Element, panel: Panel) -> None:
    _text(group, _LEFT, 20, panel.title, weight="bold")
    for mark in panel.up.marks:
        height = _up(panel, mark)
        _stroke(group, (_LEFT, height), (_WIDTH - _RIGHT, height), colour="#dddddd")
        _text(group, _LEFT - 6, height + 4, f"{mark:.6g}", anchor="end")
    for mark in panel.across.marks:
        place = _across(panel, mark)
        _text(group, place, _HEIGHT - _BOTTOM + 16, f"{mark:.6g}", anchor="middle")
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    _text(group, middle, _HEIGHT - 8, panel.across.name, anchor="middle")
    _text(group, 8, 20, panel.up.name)


def _draw_line(group: ET.Element, panel: Panel, line: Line, *, row: int) -> None:
    colour = COLOURS[row % len(COLOURS)]
    _curve(group, [(_across(panel, x), _up(panel, y)) for x, y in line.points], colour=colour)
    height = _TOP + 10 + 16 * row
    _stroke(group, (_WIDTH - 100, height), (_WIDTH - 82, height), colour=colour, width=2)
    _text(group, _WIDTH - 76, height + 4, line.name)


def _across(panel: Panel, value: float) -> float:
    return _LEFT + panel.across.share(value) * (_WIDTH - _RIGHT - _LEFT)


def _up(panel: Panel, value: float) -> float:
    return _HEIGHT - _BOTTOM + panel.up.share(value) * (_TOP - _HEIGHT + _BOTTOM)


def _curve(group: ET.Element, points: Sequence[tuple[float, float]], *, colour: str) -> None:
    if len(points) == 1:
        ((x, y),) = points
        dot = {"cx": f"{x:.1f}", "cy": f"{y:.1f}", "r": "3", "fill": colour}
        ET.SubElement(group, "circle", dot)
        return
    places = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    shape = {"points": places, "fill": "none", "stroke": colour, "stroke-width": "1.5"}
    ET.SubElement(group, "polyline", shape)


def _stroke(
    group: ET.Element,
    start: tuple[float, float],
    end: tuple[float, float],
    *,
    colour: str,
    width: int = 1,
) -> None:
    names = ("x1", "y1", "x2", "y2")
    places = {name: f"{at:.1f}" for name, at in zip(names, (*start, *end), strict=True)}
    ET.SubElement(group, "line", {**places, "stroke": colour, "stroke-width": str(width)})


def _text(
    group: ET.Element,
    x: float,
    y: float,
    words: str,
    *,
    anchor: str = "start",
    weight: str = "normal",
) -> None:
    where = {"x": f"{x:.1f}", "y": f"{y:.1f}", "text-anchor": anchor, "font-weight": weight}
    ET.SubElement(group, "text", where).text = words
