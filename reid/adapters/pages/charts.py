"""Charts of an evaluation as SVG: drawn here, so that the same numbers make the same bytes.

Text and rules take the colour of what surrounds them, so a chart suits light and dark pages.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from reid.adapters.pages.line_plots import COLOURS, ticks
from reid.adapters.pages.markup import Markup, tag
from reid.domain.values.analyses import CameraPairs, MapPoint, SimilarityHistogram

_WIDTH, _HEIGHT = 520, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 16, 26, 44
_CELL = 58
_SHAPES = 4
_SAME, _DIFFERENT = COLOURS[2], COLOURS[1]


@dataclass(frozen=True, slots=True)
class _Plane:
    """Maps values to pixels; the axes span their outermost marks."""

    across: Sequence[float]
    up: Sequence[float]

    def x(self, value: float) -> float:
        share = (value - self.across[0]) / (self.across[-1] - self.across[0])
        return _LEFT + share * (_WIDTH - _RIGHT - _LEFT)

    def y(self, value: float) -> float:
        share = (value - self.up[0]) / (self.up[-1] - self.up[0])
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _BOTTOM - _TOP)


def draw_cmc(cmc: Sequence[float]) -> Markup:
    """Draw the share of queries whose first match stands at a rank or better, over the rank."""
    across = [1.0, *(mark for mark in ticks(0, max(len(cmc), 2)) if mark > 1)]
    plane = _Plane(across, [mark for mark in ticks(min(0.9, *cmc), 1.0) if mark < 1.0 + 1e-9])
    points = " ".join(f"{plane.x(k):.1f},{plane.y(share):.1f}" for k, share in enumerate(cmc, 1))
    curve = tag(
        "polyline", points=points, fill="none", stroke=COLOURS[0], stroke_width=2,
        stroke_linejoin="round",
    )  # fmt: skip
    dots = [
        tag(
            "circle",
            tag("title", f"rank {k}: {cmc[k - 1]:.2%}"),
            cx=f"{plane.x(k):.1f}",
            cy=f"{plane.y(cmc[k - 1]):.1f}",
            r=3,
            fill=COLOURS[0],
        )
        for k in (1, 5, 10, 20)
        if k <= len(cmc)
    ]
    axes = _axes(plane, x="rank", y="queries", show=lambda share: f"{share:.0%}")
    return _chart("CMC curve", axes, curve, *dots)


def draw_histogram(histogram: SimilarityHistogram) -> Markup:
    """Draw how similar pictures of one person and of different people are, as shares of each."""
    shares = [_shares(counts) for counts in (histogram.same, histogram.different)]
    used = [n for n, pair in enumerate(zip(*shares, strict=True)) if any(pair)] or [0]
    low, high = histogram.edges[used[0]], histogram.edges[used[-1] + 1]
    plane = _Plane(ticks(low, high), ticks(0.0, max(1e-6, *shares[0], *shares[1])))
    areas = [
        _steps(plane, histogram.edges, counts, used=range(used[0], used[-1] + 1), colour=colour)
        for counts, colour in zip(shares, (_SAME, _DIFFERENT), strict=True)
    ]
    key = [
        part
        for line, (words, colour, counts) in enumerate(
            (
                ("same person", _SAME, histogram.same),
                ("different people", _DIFFERENT, histogram.different),
            )
        )
        for part in _key(line, f"{words} ({sum(counts):,} pairs)", colour=colour)
    ]
    axes = _axes(plane, x="similarity (cosine)", y="pairs", show=lambda share: f"{share:.4g}")
    return _chart("Similarity of same and different people", axes, *areas, *key)


def draw_camera_pairs(pairs: CameraPairs) -> Markup:
    """Draw a matrix: a row per query camera, a column per gallery camera."""
    cells = [
        part
        for row, scores in enumerate(pairs.mean_average_precision)
        for column, score in enumerate(scores)
        for part in _cell(row, column, score, count=pairs.num_queries[row][column])
    ]
    names = [
        _text(_LEFT + _CELL * (n + 0.5), 40, str(camera + 1), anchor="middle")
        for n, camera in enumerate(pairs.gallery_cameras)
    ] + [
        _text(_LEFT - 8, 52 + _CELL * (n + 0.5) + 4, str(camera + 1), anchor="end")
        for n, camera in enumerate(pairs.query_cameras)
    ]
    titles = (_text(_LEFT, 18, "gallery camera"), _text(4, 40, "query"))
    return _chart(
        "mAP per pair of cameras",
        *titles,
        *names,
        *cells,
        width=max(_LEFT + _CELL * len(pairs.gallery_cameras) + 8, 180),
        height=52 + _CELL * len(pairs.query_cameras) + 8,
    )


def draw_map(points: Sequence[MapPoint]) -> Markup:
    """Draw pictures in the plane, a colour and shape per person, queries ringed; no axes."""
    labels = {label: n for n, label in enumerate(dict.fromkeys(p.label for p in points))}
    reach = max((abs(value) for p in points for value in (p.x, p.y)), default=0.0) or 1.0
    size = 520
    scale = (size / 2 - 14) / reach
    marks = [
        _mark(
            point,
            (size / 2 + scale * point.x, size / 2 - scale * point.y),
            number=labels[point.label],
        )
        for point in points
    ]
    return _chart("Map of a sample", *marks, width=size, height=size)


def standalone(chart: Markup) -> str:
    """Make a file of a chart: dark on white."""
    opening, rest = chart.split(">", 1)
    white = '<rect width="100%" height="100%" fill="white"></rect>'
    return f"{opening}>{white}{rest}\n"


def _chart(title: str, *content: Markup, width: float = _WIDTH, height: float = _HEIGHT) -> Markup:
    return tag(
        "svg",
        tag("title", title),
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


def _axes(plane: _Plane, *, x: str, y: str, show: Callable[[float], str]) -> Markup:
    rules = [
        tag(
            "path",
            d=f"M{_LEFT} {plane.y(mark):.1f}H{_WIDTH - _RIGHT}",
            stroke="currentColor",
            stroke_opacity=0.15,
        )
        for mark in plane.up
    ]
    beside = [_text(_LEFT - 6, plane.y(mark) + 4, show(mark), anchor="end") for mark in plane.up]
    below = [
        _text(plane.x(mark), _HEIGHT - _BOTTOM + 16, f"{mark:.4g}", anchor="middle")
        for mark in plane.across
    ]
    names = [
        _text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 8, x, anchor="middle"),
        _text(4, 10, y),
    ]
    return tag("g", *rules, *beside, *below, *names)


def _steps(
    plane: _Plane,
    edges: Sequence[float],
    shares: Sequence[float],
    *,
    used: range,
    colour: str,
) -> Markup:
    path = [f"M{plane.x(edges[used[0]]):.1f} {plane.y(0):.1f}"]
    path += [f"V{plane.y(shares[n]):.1f}H{plane.x(edges[n + 1]):.1f}" for n in used]
    path.append(f"V{plane.y(0):.1f}Z")
    return tag("path", d="".join(path), fill=colour, fill_opacity=0.35, stroke=colour)


def _key(line: int, words: str, *, colour: str) -> tuple[Markup, Markup]:
    y = _TOP + 8 + 16 * line
    box = tag("rect", x=_LEFT + 10, y=y - 9, width=10, height=10, fill=colour, fill_opacity=0.6)
    return box, _text(_LEFT + 26, y, words)


def _cell(row: int, column: int, score: float | None, *, count: int) -> tuple[Markup, ...]:
    x, y = _LEFT + _CELL * column, 52 + _CELL * row
    box = tag(
        "rect",
        x=x + 1,
        y=y + 1,
        width=_CELL - 2,
        height=_CELL - 2,
        rx=4,
        fill=COLOURS[0] if score is not None else "currentColor",
        fill_opacity=f"{0.06 if score is None else 0.08 + 0.5 * score:.3f}",
    )
    if score is None:
        return box, _text(x + _CELL / 2, y + _CELL / 2 + 4, "-", anchor="middle")
    words = _text(x + _CELL / 2, y + _CELL / 2 + 1, f"{100 * score:.1f}", anchor="middle", size=13)
    return (
        box,
        words,
        _text(x + _CELL / 2, y + _CELL / 2 + 16, f"n={count}", anchor="middle", size=9),
    )


def _mark(point: MapPoint, place: tuple[float, float], *, number: int) -> Markup:
    x, y = place
    colour = COLOURS[number % (len(COLOURS) - 1)]
    shape = number // (len(COLOURS) - 1) % _SHAPES
    role = "query" if point.is_query else "gallery"
    return tag(
        "path",
        tag("title", f"{point.label}, camera {point.camera}, {role}"),
        d=_outline(shape, x, y),
        fill=colour,
        fill_opacity=0.85,
        stroke="currentColor" if point.is_query else colour,
        stroke_width=1.6 if point.is_query else 0.5,
    )


def _outline(shape: int, x: float, y: float) -> str:
    if shape == 0:
        return f"M{x - 4:.1f} {y:.1f}a4 4 0 1 0 8 0a4 4 0 1 0 -8 0Z"
    corners, turn, radius = ((4, 0.25, 5.0), (3, -0.5, 5.5), (4, 0.0, 5.5))[shape - 1]
    angles = [math.pi * (turn + 2 * n / corners) for n in range(corners)]
    points = [f"{x + radius * math.cos(a):.1f} {y + radius * math.sin(a):.1f}" for a in angles]
    return f"M{'L'.join(points)}Z"


def _shares(counts: Sequence[int]) -> list[float]:
    total = sum(counts) or 1
    return [count / total for count in counts]


def _text(
    x: float, y: float, words: str, *, anchor: str = "start", size: int | None = None
) -> Markup:
    return tag("text", words, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor, font_size=size)
