"""SVG drawn element by element: the same numbers make the same bytes on every machine.

Figures are kept under version control, and the output of plotting libraries changes with their
version and the machine's fonts. Text and rules take the surrounding colour, so charts suit light
and dark pages.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Distinct for most colour-blind people (Okabe & Ito 2008)."""

_NUM_TICKS = 5


def element(name: str, *content: str, **attributes: str | float | None) -> Markup:
    """Write an element; content and attributes are escaped unless they are `Markup`.

    Args:
        name: The element's name.
        content: Texts and elements.
        attributes: `font_size` becomes `font-size`; None writes nothing.
    """
    shown = Markup("").join(
        Markup(' {}="{}"').format(key.replace("_", "-"), value)
        for key, value in attributes.items()
        if value is not None
    )
    if not content:
        return Markup("<{}{}/>").format(name, shown)
    return Markup("<{0}{1}>{2}</{0}>").format(name, shown, Markup("").join(content))


def text(x: float, y: float, words: str, **attributes: str | float | None) -> Markup:
    """Write text at a place; `text_anchor` aligns it."""
    return element("text", words, x=f"{x:.1f}", y=f"{y:.1f}", **attributes)


def ticks(low: float, high: float) -> tuple[float, ...]:
    """Choose about five round numbers that span `low` to `high`, which is larger."""
    rough = (high - low) / _NUM_TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next(round_one for round_one in (1, 2, 5, 10) if round_one * power >= rough)
    first, last = math.floor(low / step), math.ceil(high / step)
    return tuple(step * number for number in range(first, last + 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """What is measured along a side of a plot."""

    name: str
    marks: Sequence[float]
    """Labelled values."""

    low: float
    high: float
    is_logarithmic: bool = False
    """If so, `low` is above 0, and smaller values are drawn there."""

    show: Callable[[float], str] = "{:.6g}".format

    @classmethod
    def between(
        cls, marks: Sequence[float], name: str, show: Callable[[float], str] = "{:.6g}".format
    ) -> "Axis":
        """Span the outermost marks."""
        return cls(name=name, marks=marks, low=marks[0], high=marks[-1], show=show)

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
    left: float
    right: float
    top: float
    bottom: float
    name_of_up_at: tuple[float, float]

    def x(self, value: float) -> float:
        """Return the pixel of a value of `across`."""
        return self.left + self.across.share(value) * (self.right - self.left)

    def y(self, value: float) -> float:
        """Return the pixel of a value of `up`."""
        return self.bottom - self.up.share(value) * (self.bottom - self.top)

    def axes(self) -> Markup:
        """Draw rules, marks and the names of both axes."""
        rules = [
            element(
                "path",
                d=f"M{self.left:g} {self.y(mark):.1f}H{self.right:g}",
                stroke="currentColor",
                stroke_opacity=0.15,
            )
            for mark in self.up.marks
        ]
        beside = [
            text(self.left - 6, self.y(mark) + 4, self.up.show(mark), text_anchor="end")
            for mark in self.up.marks
        ]
        below = [
            text(self.x(mark), self.bottom + 16, self.across.show(mark), text_anchor="middle")
            for mark in self.across.marks
        ]
        middle = (self.left + self.right) / 2
        name = text(middle, self.bottom + 36, self.across.name, text_anchor="middle")
        beside.append(text(*self.name_of_up_at, self.up.name))
        return element("g", *rules, *beside, *below, name)

    def curve(self, points: Sequence[tuple[float, float]], *, colour: str) -> Markup:
        """Draw a line through points; a single one is a dot."""
        places = [(f"{self.x(x):.1f}", f"{self.y(y):.1f}") for x, y in points]
        if len(places) == 1:
            return element("circle", cx=places[0][0], cy=places[0][1], r=3, fill=colour)
        return element(
            "polyline",
            points=" ".join(map(",".join, places)),
            fill="none",
            stroke=colour,
            stroke_width=2,
            stroke_linejoin="round",
        )


def chart(title: str, *content: Markup, width: float, height: float) -> Markup:
    """Assemble a chart, which a page can hold as it is."""
    return element(
        "svg",
        element("title", title),
        *content,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width:g} {height:g}",
        width=f"{width:g}",
        height=f"{height:g}",
        font_family="system-ui, sans-serif",
        font_size=11,
        fill="currentColor",
        role="img",
        aria_label=title,
    )


def standalone(drawn: Markup) -> str:
    """Make an SVG file of a chart: dark on white, an element per line."""
    opening, rest = drawn.split(">", 1)
    white = '<rect width="100%" height="100%" fill="white"/>'
    return f"{opening}>{white}{rest}".replace("><", ">\n<") + "\n"
