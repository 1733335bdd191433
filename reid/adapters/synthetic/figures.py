"""Draws a person in a pose.

A body stands in its own space: `lateral` to its left, `forward` where it faces, `down` from the top
of the head (0) to the soles (1), all in body heights. The yaw turns it before the camera.
"""

import math
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from operator import itemgetter
from typing import NamedTuple, TypeAlias

from PIL import Image, ImageDraw

from reid.adapters.synthetic.people import Colour, Person

SUPERSAMPLING = 3
"""Figures are drawn this many times larger and averaged down, which smooths their edges."""

_Place: TypeAlias = tuple[float, float, float]
_Stroke: TypeAlias = tuple[_Place, _Place, float, Colour]
"""Start, end, width and colour of a line with round ends."""

_SHOULDERS, _HIPS = 0.165, 0.5
_SHOULDER_WIDTH, _HIP_WIDTH, _DEPTH = 0.112, 0.088, 0.075


class Pose(NamedTuple):
    """What changes from image to image, apart from light and scene."""

    yaw: float  # radians: 0 faces the camera, pi turns the back
    stride: float  # radians between a leg and the vertical, signed: which foot is ahead
    centre: float
    top: float  # centre of the body and top of the head, as shares of the image's width and height
    scale: float  # height of an average body as a share of the image's height


class Figure:
    """One body on a canvas, an RGBA image `SUPERSAMPLING` times larger than the finished one."""

    def __init__(self, canvas: Image.Image, person: Person, pose: Pose) -> None:
        """Place the body; nothing is drawn yet."""
        self._draw, self._person, self._stride = ImageDraw.Draw(canvas), person, pose.stride
        self._sin, self._cos = math.sin(pose.yaw), math.cos(pose.yaw)
        self._unit = canvas.height * pose.scale * person.height
        self._left = canvas.width * pose.centre
        self._top = canvas.height * (pose.top + pose.scale * (1 - person.height))

    def draw(self) -> None:
        """Draw from the farthest part to the nearest."""
        parts = [(0.0, self._trunk), (0.001, self._head)]
        for start, end, width, colour in (*self._limbs(-1), *self._limbs(1), *self._accessories()):
            nearness = (self._at(start)[2] + self._at(end)[2]) / 2
            parts.append((nearness, partial(self._line, start, end, width, colour)))
        for _, draw in sorted(parts, key=itemgetter(0)):
            draw()

    def _accessories(self) -> Iterator[_Stroke]:
        person = self._person
        if person.bag == "backpack":
            yield (0, -0.1, 0.23), (0, -0.1, 0.37), 0.13, person.bag_colour
            for strap in (-0.065, 0.065):
                yield (strap, 0.06, 0.18), (strap, 0.06, 0.33), 0.02, person.bag_colour
        elif person.bag == "shoulder bag":
            yield (0.07, 0.06, 0.17), (-0.1, 0.06, 0.45), 0.018, person.bag_colour
            yield (-0.14, 0, 0.46), (-0.14, 0, 0.53), 0.09, person.bag_colour
        if person.haircut == "long":
            yield (0, -0.03, 0.06), (0, -0.04, 0.19), 0.08, person.hair

    def _limbs(self, side: int) -> Iterator[_Stroke]:
        person, swing = self._person, side * self._stride
        red, green, blue = (int(part * 0.86) for part in person.upper)
        sleeve = (red, green, blue)
        cover = {"trousers": (person.lower,) * 2, "shorts": (person.lower, person.skin)}
        thigh, shin = cover.get(person.lower_kind, (person.skin, person.skin))
        hip, shoulder = (side * 0.046, 0.0, _HIPS - 0.01), (side * 0.11, 0.0, _SHOULDERS + 0.025)
        knee = _below(hip, 0.235, swing)
        ankle = _below(knee, 0.22, swing - 1.3 * max(-swing, 0.0))  # the leg behind lifts its heel
        elbow = _below((side * 0.125, 0.0, shoulder[2]), 0.155, -swing)
        wrist = _below(elbow, 0.15, 0.35 - swing)
        yield hip, knee, 0.08, thigh
        yield knee, ankle, 0.05, shin
        yield ankle, (ankle[0], ankle[1] + 0.05, ankle[2] + 0.02), 0.04, person.shoes
        yield elbow, wrist, 0.036, sleeve if person.has_long_sleeves else person.skin
        yield shoulder, elbow, 0.056, sleeve

    def _trunk(self) -> None:
        """Draw neck and clothes; the upper garment is a grid of cells in two colours."""
        person, (rows, columns) = self._person, self._person.pattern
        self._line((0, 0, 0.1), (0, 0, _SHOULDERS), 0.05, person.skin)
        shoulder, hip = (
            math.hypot(lateral * self._cos, _DEPTH * self._sin) * person.build
            for lateral in (_SHOULDER_WIDTH, _HIP_WIDTH)
        )
        is_skirt = person.lower_kind == "skirt"
        wide, end = (1.45 * hip, 0.7) if is_skirt else (hip, _HIPS + 0.06)
        self._quad((-hip, hip, _HIPS - 0.03), (-wide, wide, end), person.lower)
        span = _HIPS + 0.02 - _SHOULDERS
        levels = [
            (shoulder + (hip - shoulder) * row / rows, _SHOULDERS + span * row / rows)
            for row in range(rows + 1)
        ]
        for row, levels_of_row in enumerate(pairwise(levels)):
            for column in range(columns):
                left, right = (2 * (column + n) / columns - 1 for n in (0, 1))
                upper, lower = ((left * half, right * half, down) for half, down in levels_of_row)
                is_second = (row + column) % 2
                self._quad(upper, lower, person.upper_second if is_second else person.upper)

    def _head(self) -> None:
        person, (x, y, _) = self._person, self._at((0, 0.012, 0.07))
        if person.haircut != "bald":
            self._oval(x - 0.012 * self._sin * self._unit, y, 0.046, 0.06, person.hair)
        if self._cos > -0.35 or person.haircut == "bald":
            x += 0.018 * self._sin * self._unit
            self._oval(x, y, 0.025 + 0.012 * abs(self._cos), 0.048, person.skin)
        if person.hat is not None:
            self._oval(x, y - 0.035 * self._unit, 0.05, 0.03, person.hat)

    def _at(self, place: _Place) -> tuple[float, float, float]:
        """Return x and y in pixels, and the nearness to the camera."""
        lateral, forward, down = place[0] * self._person.build, place[1], place[2]
        across = lateral * self._cos + forward * self._sin
        near = forward * self._cos - lateral * self._sin
        return self._left + across * self._unit, self._top + down * self._unit, near

    def _line(self, start: _Place, end: _Place, width: float, colour: Colour) -> None:
        ends = [self._at(start)[:2], self._at(end)[:2]]
        self._draw.line(ends, fill=colour, width=round(width * self._unit * self._person.build))
        for x, y in ends:
            self._oval(x, y, width / 2, width / 2, colour)

    def _oval(self, x: float, y: float, across: float, along: float, colour: Colour) -> None:
        across, along = across * self._unit * self._person.build, along * self._unit
        self._draw.ellipse((x - across, y - along, x + across, y + along), fill=colour)

    def _quad(self, upper: _Place, lower: _Place, colour: Colour) -> None:
        """Fill a trapezium between two levels: left, right and down in body heights."""
        corners = ((upper[0], upper[2]), upper[1:], lower[1:], (lower[0], lower[2]))
        unit = self._unit
        points = [(self._left + across * unit, self._top + down * unit) for across, down in corners]
        self._draw.polygon(points, fill=colour)


def _below(place: _Place, length: float, swing: float) -> _Place:
    lateral, forward, down = place
    return lateral, forward + length * math.sin(swing), down + length * math.cos(swing)
