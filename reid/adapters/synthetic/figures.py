"""Draws a person in a pose.

A body stands in its own space: `lateral` to its left, `forward` where it faces, `down` from the
top of the head (0) to the soles (1), all in body heights. The yaw turns it before the camera.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from PIL import Image, ImageDraw

from reid.adapters.synthetic.people import Bag, Colour, Hair, Lower, Pattern, Person

SUPERSAMPLING = 3
"""Figures are drawn this many times larger and averaged down, which smooths their edges."""

Point: TypeAlias = tuple[float, float]
_Cell: TypeAlias = tuple[float, float, float, float, Colour]

SHOULDERS, WAIST, KNEES, ANKLES = 0.165, 0.5, 0.735, 0.955
_SHOULDER_WIDTH, _HIP_WIDTH, _DEPTH = 0.112, 0.088, 0.075
_CHEST, _HEM = SHOULDERS + 0.02, WAIST + 0.02
_LEG_APART, _ARM_APART = 0.046, 0.118


@dataclass(frozen=True, slots=True, kw_only=True)
class Pose:
    """What changes from picture to picture, apart from light and scene."""

    yaw: float
    """Radians: 0 faces the camera, pi turns the back."""

    stride: float
    """Radians between a leg and the vertical, signed: which foot is ahead."""

    arm_swing: float
    centre: float
    """Of the body, as a share of the picture's width."""

    top: float
    """Of the head, as a share of the picture's height."""

    scale: float
    """Height of an average body as a share of the picture's height."""

    leg_length: float = 1.0
    """Below 1 for a camera that looks down from above."""


class FigureCanvas:
    """A transparent picture on which people are drawn one over another."""

    def __init__(self, *, height: int, width: int) -> None:
        """Start empty, in pixels of the finished picture."""
        self._size = (width * SUPERSAMPLING, height * SUPERSAMPLING)
        self._image = Image.new("RGBA", self._size, (0, 0, 0, 0))
        self._draw = ImageDraw.Draw(self._image)

    def draw(self, person: Person, pose: Pose) -> None:
        """Add a person."""
        width, height = self._size
        _Figure(self._draw, person=person, pose=pose, width=width, height=height).draw()

    def rectangle(self, box: tuple[float, float, float, float], colour: Colour) -> None:
        """Add a thing that stands before the people; left, top, right, bottom as shares."""
        width, height = self._size
        left, top, right, bottom = box
        self._draw.rectangle(
            (left * width, top * height, right * width, bottom * height), fill=colour
        )

    def finish(self) -> Image.Image:
        """Average down to the finished size, RGBA."""
        return self._image.reduce(SUPERSAMPLING)


class _Figure:
    """One body, drawn from the farthest part to the nearest."""

    def __init__(
        self, draw: ImageDraw.ImageDraw, *, person: Person, pose: Pose, width: int, height: int
    ) -> None:
        self._draw = draw
        self._person = person
        self._pose = pose
        self._sin, self._cos = math.sin(pose.yaw), math.cos(pose.yaw)
        self._unit = height * pose.scale * person.height
        self._left = width * pose.centre
        self._top = height * (pose.top + pose.scale * (1 - person.height))

    def draw(self) -> None:
        near = 1 if self._sin < 0 else -1  # the side turned to the camera
        has_back_ahead = self._cos < 0
        self._arm(-near)
        self._leg(-near)
        if not has_back_ahead:
            self._back()
        self._leg(near)
        self._torso()
        if has_back_ahead:
            self._back()
        self._arm(near)
        self._bag(near)
        self._head()

    def _at(self, lateral: float, forward: float, down: float) -> Point:
        if down > WAIST:
            down = WAIST + (down - WAIST) * self._pose.leg_length
        across = lateral * self._person.build * self._cos + forward * self._sin
        return self._left + across * self._unit, self._top + down * self._unit

    def _limb(self, points: Sequence[Point], widths: Sequence[float], colour: Colour) -> None:
        """Join points by tapering strokes with round ends; widths in body heights."""
        radii = [width * self._unit * self._person.build / 2 for width in widths]
        for (x, y), radius in zip(points, radii, strict=True):
            self._draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
        for start, end in zip(range(len(points)), range(1, len(points)), strict=False):
            (x0, y0), (x1, y1) = points[start], points[end]
            length = math.hypot(x1 - x0, y1 - y0) or 1.0
            across, along = (y0 - y1) / length, (x1 - x0) / length
            a, b = radii[start], radii[end]
            corners = [
                (x0 + across * a, y0 + along * a),
                (x1 + across * b, y1 + along * b),
                (x1 - across * b, y1 - along * b),
                (x0 - across * a, y0 - along * a),
            ]
            self._draw.polygon(corners, fill=colour)

    def _oval(self, centre: Point, half_width: float, half_height: float, colour: Colour) -> None:
        x, y = centre
        across, along = half_width * self._unit, half_height * self._unit
        self._draw.ellipse((x - across, y - along, x + across, y + along), fill=colour)

    def _leg(self, side: int) -> None:
        person = self._person
        swing = side * self._pose.stride
        thigh, shin = KNEES - WAIST, ANKLES - KNEES
        bend = max(-swing, 0.0) * 1.3  # the leg behind lifts its heel
        knee_forward, knee_down = thigh * math.sin(swing), WAIST + thigh * math.cos(swing)
        ankle_forward = knee_forward + shin * math.sin(swing - bend)
        ankle_down = knee_down + shin * math.cos(swing - bend)
        lateral = side * _LEG_APART
        hip, knee = self._at(lateral, 0, WAIST - 0.01), self._at(lateral, knee_forward, knee_down)
        ankle = self._at(lateral, ankle_forward, ankle_down)
        is_bare = person.lower_kind is not Lower.TROUSERS
        self._limb((knee, ankle), (0.058, 0.042), person.skin if is_bare else person.lower)
        thigh_colour = person.skin if person.lower_kind is Lower.SKIRT else person.lower
        self._limb((hip, knee), (0.092, 0.062 if is_bare else 0.066), thigh_colour)
        toe = self._at(lateral, ankle_forward + 0.05, ankle_down + 0.03)
        heel = self._at(lateral, ankle_forward - 0.01, ankle_down + 0.025)
        self._limb((heel, toe), (0.046, 0.036), person.shoes)

    def _arm(self, side: int) -> None:
        person = self._person
        swing = -side * self._pose.arm_swing
        lateral = side * _ARM_APART
        shoulder = self._at(lateral * 0.92, 0, SHOULDERS + 0.025)
        elbow_forward = 0.155 * math.sin(swing)
        elbow = self._at(lateral * 1.06, elbow_forward, SHOULDERS + 0.165)
        forearm = swing + 0.35
        wrist = self._at(
            lateral * 1.08,
            elbow_forward + 0.15 * math.sin(forearm),
            SHOULDERS + 0.165 + 0.145 * math.cos(forearm),
        )
        sleeve = _darker(person.upper)
        self._limb(
            (elbow, wrist), (0.042, 0.032), sleeve if person.has_long_sleeves else person.skin
        )
        self._limb((shoulder, elbow), (0.064, 0.048), sleeve)
        self._oval(wrist, 0.017, 0.02, person.skin)
        if person.bag is Bag.HANDBAG and side > 0:
            x, y = wrist
            self._limb(((x, y), (x, y + 0.06 * self._unit)), (0.012, 0.012), person.bag_colour)
            self._limb(
                ((x, y + 0.075 * self._unit), (x, y + 0.115 * self._unit)),
                (0.07, 0.085),
                person.bag_colour,
            )

    def _torso(self) -> None:
        person = self._person
        self._limb(
            (self._at(0, 0, 0.11), self._at(0, 0, SHOULDERS + 0.01)), (0.05, 0.055), person.skin
        )
        shoulder, hip = self._half_width(_SHOULDER_WIDTH), self._half_width(_HIP_WIDTH)
        if person.lower_kind is Lower.SKIRT:
            self._quad((-hip, hip), (-hip * 1.45, hip * 1.45), (WAIST - 0.03, 0.7), person.lower)
        else:
            self._quad((-hip, hip), (-hip, hip), (WAIST - 0.03, WAIST + 0.05), person.lower)
        self._limb(
            (self._beside(-shoulder + 0.03), self._beside(shoulder - 0.03)),
            (0.06, 0.06),
            person.upper,
        )
        for left, right, top, bottom, colour in _cells(person, self._sin, self._cos):
            widths = [shoulder + (hip - shoulder) * share for share in (top, bottom)]
            start, end = (_CHEST + (_HEM - _CHEST) * share for share in (top, bottom))
            self._quad(
                (left * widths[0], right * widths[0]),
                (left * widths[1], right * widths[1]),
                (start, end),
                colour,
            )

    def _half_width(self, lateral: float) -> float:
        """Half the projected width of an elliptic trunk, in body heights."""
        return math.hypot(lateral * self._cos, _DEPTH * self._sin) * self._person.build

    def _beside(self, across: float) -> Point:
        x, y = self._at(0, 0, SHOULDERS + 0.022)
        return x + across * self._unit, y

    def _quad(self, top: Point, bottom: Point, downs: Point, colour: Colour) -> None:
        """Fill a trapezium; across values in body heights from the body's middle."""
        (_, upper), (_, lower) = self._at(0, 0, downs[0]), self._at(0, 0, downs[1])
        corners = [
            (self._left + top[0] * self._unit, upper),
            (self._left + top[1] * self._unit, upper),
            (self._left + bottom[1] * self._unit, lower),
            (self._left + bottom[0] * self._unit, lower),
        ]
        self._draw.polygon(corners, fill=colour)

    def _back(self) -> None:
        if self._person.bag is not Bag.BACKPACK:
            return
        upper, lower = self._at(0, -0.09, 0.225), self._at(0, -0.1, 0.37)
        width = 0.075 + 0.055 * abs(self._cos)
        self._limb((upper, lower), (width, width * 1.1), self._person.bag_colour)
        if self._cos < 0:
            pocket = self._at(0, -0.1, 0.375)
            self._oval(pocket, 0.04 * abs(self._cos), 0.03, _darker(self._person.bag_colour))

    def _bag(self, near: int) -> None:
        person = self._person
        if person.bag is Bag.BACKPACK and self._cos > -0.2:
            for side in (-1, 1):
                strap = (self._at(side * 0.062, 0.05, 0.17), self._at(side * 0.066, 0.05, 0.33))
                self._limb(strap, (0.024, 0.02), person.bag_colour)
        if person.bag is Bag.SHOULDER_BAG:
            strap = (self._at(0.07, 0.0, 0.165), self._at(-0.1, 0.0, 0.45))
            self._limb(strap, (0.018, 0.018), person.bag_colour)
            if near < 0 or abs(self._cos) > 0.4:
                bag = (self._at(-0.12, 0.0, 0.46), self._at(-0.12, 0.0, 0.53))
                self._limb(bag, (0.085, 0.095), person.bag_colour)

    def _head(self) -> None:
        person = self._person
        centre, forward = self._at(0, 0.012, 0.07), self._sin
        if person.hair is Hair.BALD:
            self._oval(centre, 0.043, 0.058, person.skin)
        else:
            self._hair(centre)
        if self._cos > -0.35:
            face = (centre[0] + 0.018 * forward * self._unit, centre[1] + 0.012 * self._unit)
            self._oval(face, 0.025 + 0.012 * max(self._cos, 0), 0.046, person.skin)
        if person.hat is not None:
            x, y = centre
            across, along = 0.049 * self._unit, 0.064 * self._unit
            box = (x - across, y - along, x + across, y + along)
            self._draw.pieslice(box, 180, 360, fill=person.hat)
            peak = ((x, y), (x + 0.065 * forward * self._unit, y))
            self._limb(peak, (0.02, 0.016), person.hat)

    def _hair(self, centre: Point) -> None:
        person = self._person
        behind = -0.012 * self._sin * self._unit
        self._oval(
            (centre[0] + behind, centre[1] - 0.006 * self._unit), 0.046, 0.06, person.hair_colour
        )
        if person.hair is Hair.LONG:
            fall = (self._at(0, -0.02, 0.08), self._at(0, -0.035, 0.2))
            if self._cos < 0.3:
                self._limb(fall, (0.085, 0.075), person.hair_colour)
            else:
                for side in (-1, 1):
                    lock = (self._at(side * 0.036, 0, 0.08), self._at(side * 0.042, 0, 0.19))
                    self._limb(lock, (0.03, 0.024), person.hair_colour)
        if person.hair is Hair.TAIL and self._cos < 0.6:
            tail = (self._at(0, -0.045, 0.06), self._at(0, -0.06, 0.165))
            self._limb(tail, (0.034, 0.02), person.hair_colour)


def _cells(person: Person, sin: float, cos: float) -> Iterator[_Cell]:
    """Divide the upper garment into quadrilaterals of one colour each.

    Yields:
        Left and right in -1..1 across the trunk, top and bottom in 0..1 down it, and the colour.
    """
    first, second = person.upper, person.upper_second
    yield -1.0, 1.0, 0.0, 1.0, first
    match person.pattern:
        case Pattern.PLAIN:
            return
        case Pattern.STRIPES | Pattern.BARS | Pattern.CHECKS:
            yield from _grid(person)
        case Pattern.HALVES:
            yield -1.0, 1.0, 0.5, 1.0, second
        case Pattern.LOGO:
            turn = 0.55 * sin
            yield turn - 0.42 * abs(cos) - 0.1, turn + 0.42 * abs(cos) + 0.1, 0.22, 0.55, second
        case Pattern.OPEN_JACKET if cos > -0.2:
            turn = 0.55 * sin
            yield max(turn - 0.3, -1.0), min(turn + 0.3, 1.0), 0.0, 1.0, second
        case Pattern.OPEN_JACKET:
            yield -1.0, 1.0, 0.9, 1.0, second


def _grid(person: Person) -> Iterator[_Cell]:
    rows = 1 if person.pattern is Pattern.BARS else person.num_bands
    columns = {Pattern.STRIPES: 1, Pattern.BARS: person.num_bands + 1}.get(person.pattern, 4)
    for row in range(rows):
        for column in range(columns):
            if (row + column) % 2:
                left, right = (2 * edge / columns - 1 for edge in (column, column + 1))
                yield left, right, row / rows, (row + 1) / rows, person.upper_second


def _darker(colour: Colour) -> Colour:
    red, green, blue = (int(part * 0.86) for part in colour)
    return red, green, blue
