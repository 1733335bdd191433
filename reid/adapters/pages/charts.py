"""The charts of evaluations, trainings and open-set identification."""

import math
from collections.abc import Mapping, Sequence

from markupsafe import Markup

from reid.adapters.pages.svg import COLOURS, Axis, Plane, chart, element, standalone, text, ticks
from reid.domain.values.analyses import CameraPairs, MapPoint, SimilarityHistogram
from reid.domain.values.open_set import OpenSetReport
from reid.domain.values.results import StageCurves

_STAGES = {"prompts": "Stage 1: prompts", "encoder": "Stage 2: encoder"}
_WIDTH, _HEIGHT = 520, 320
_PANEL_WIDTH, _PANEL_HEIGHT = 460, 300
_CELL, _CELLS_LEFT, _CELLS_TOP = 58, 52, 52
_MAP_SIZE = 520
_SHAPES = 4
_SAME, _DIFFERENT = COLOURS[2], COLOURS[1]

_Lines = Mapping[str, Sequence[tuple[float, float]]]


def draw_cmc(cmc: Sequence[float]) -> Markup:
    """Draw the share of queries whose first match is at a rank or better, over the rank."""
    ranks = [1.0, *(mark for mark in ticks(0, max(len(cmc), 2)) if mark > 1)]
    shares = [mark for mark in ticks(min(0.9, *cmc), 1.0) if mark < 1.0 + 1e-9]
    plane = _plane(Axis.between(ranks, "rank"), Axis.between(shares, "queries", "{:.0%}".format))
    curve = plane.curve(list(enumerate(cmc, 1)), colour=COLOURS[0])
    dots = [
        element(
            "circle",
            element("title", f"rank {k}: {cmc[k - 1]:.2%}"),
            cx=f"{plane.x(k):.1f}",
            cy=f"{plane.y(cmc[k - 1]):.1f}",
            r=3,
            fill=COLOURS[0],
        )
        for k in (1, 5, 10, 20)
        if k <= len(cmc)
    ]
    return chart("CMC curve", plane.axes(), curve, *dots, width=_WIDTH, height=_HEIGHT)


def draw_histogram(histogram: SimilarityHistogram) -> Markup:
    """Draw the similarities of images of one person and of different people, as shares."""
    kinds = (
        ("same person", _SAME, histogram.same),
        ("different people", _DIFFERENT, histogram.different),
    )
    shares = [[count / (sum(counts) or 1) for count in counts] for *_, counts in kinds]
    used = [n for n, pair in enumerate(zip(*shares, strict=True)) if any(pair)] or [0]
    edges = histogram.edges[used[0] : used[-1] + 2]
    plane = _plane(
        Axis.between(ticks(edges[0], edges[-1]), "similarity (cosine)", "{:.4g}".format),
        Axis.between(ticks(0.0, max(1e-6, *map(max, shares))), "pairs", "{:.4g}".format),
    )
    drawn = [plane.axes()]
    for row, ((words, colour, counts), heights) in enumerate(zip(kinds, shares, strict=True)):
        steps = zip(heights[used[0] : used[-1] + 1], edges[1:], strict=True)
        outline = "".join(f"V{plane.y(up):.1f}H{plane.x(edge):.1f}" for up, edge in steps)
        floor = f"{plane.y(0):.1f}"
        y = plane.top + 8 + 16 * row
        drawn += [
            element(
                "path",
                d=f"M{plane.x(edges[0]):.1f} {floor}{outline}V{floor}Z",
                fill=colour,
                fill_opacity=0.35,
                stroke=colour,
            ),
            _box(plane.left + 10, y - 9, 10, colour=colour, opacity=0.6),
            text(plane.left + 26, y, f"{words} ({sum(counts):,} pairs)"),
        ]
    title = "Similarity of same and different people"
    return chart(title, *drawn, width=_WIDTH, height=_HEIGHT)


def draw_camera_pairs(pairs: CameraPairs) -> Markup:
    """Draw a matrix: a row per query camera, a column per gallery camera."""
    names = [
        text(_CELLS_LEFT + _CELL * (n + 0.5), 40, str(camera + 1), text_anchor="middle")
        for n, camera in enumerate(pairs.gallery_cameras)
    ] + [
        text(
            _CELLS_LEFT - 8, _CELLS_TOP + _CELL * (n + 0.5) + 4, str(camera + 1), text_anchor="end"
        )
        for n, camera in enumerate(pairs.query_cameras)
    ]
    cells = [
        part
        for row, scores in enumerate(pairs.mean_average_precision)
        for column, score in enumerate(scores)
        for part in _cell(row, column, score, count=pairs.num_queries[row][column])
    ]
    return chart(
        "mAP per pair of cameras",
        text(_CELLS_LEFT, 18, "gallery camera"),
        text(4, 40, "query"),
        *names,
        *cells,
        width=max(_CELLS_LEFT + _CELL * len(pairs.gallery_cameras) + 8, 180),
        height=_CELLS_TOP + _CELL * len(pairs.query_cameras) + 8,
    )


def draw_map(points: Sequence[MapPoint]) -> Markup:
    """Draw images in the plane, a colour and shape per person, queries ringed; no axes."""
    numbers = {label: n for n, label in enumerate(dict.fromkeys(p.label for p in points))}
    reach = max((abs(value) for p in points for value in (p.x, p.y)), default=0.0) or 1.0
    middle, scale = _MAP_SIZE / 2, (_MAP_SIZE / 2 - 14) / reach
    marks = []
    for point in points:
        shape, colour_number = divmod(numbers[point.label], len(COLOURS) - 1)
        colour = COLOURS[colour_number]
        role = "query" if point.is_query else "gallery"
        place = (middle + scale * point.x, middle - scale * point.y)
        marks.append(
            element(
                "path",
                element("title", f"{point.label}, camera {point.camera}, {role}"),
                d=_outline(shape % _SHAPES, *place),
                fill=colour,
                fill_opacity=0.85,
                stroke="currentColor" if point.is_query else colour,
                stroke_width=1.6 if point.is_query else 0.5,
            )
        )
    return chart("Map of a sample", *marks, width=_MAP_SIZE, height=_MAP_SIZE)


def draw_curves(stages: Sequence[StageCurves]) -> str:
    """Draw an SVG document with a panel for each stage: losses over epochs, a line for each term.

    There is at least one stage, and each has an epoch.
    """
    panels = []
    for number, stage in enumerate(stages):
        last = max(stage.epochs[-1], 2)
        epochs = [1.0, *(m for m in ticks(0, last) if m == int(m) and 1 < m <= last)]
        values = [value for losses in stage.losses.values() for value in losses]
        panel = _panel(
            _STAGES.get(stage.stage, stage.stage),
            across=Axis(name="epoch", low=1, high=last, marks=epochs),
            up=Axis.between(ticks(min(0.0, *values), max(1e-6, *values)), "loss"),
            lines={
                term: list(zip(stage.epochs, losses, strict=True))
                for term, losses in stage.losses.items()
            },
        )
        panels.append(element("g", *panel, transform=f"translate({number * _PANEL_WIDTH} 0)"))
    width = _PANEL_WIDTH * len(panels)
    return standalone(chart("Learning curves", *panels, width=width, height=_PANEL_HEIGHT))


def draw_open_set(reports: Mapping[str, OpenSetReport]) -> str:
    """Draw an SVG document of identification rate over false-accept rate, a line for each report.

    There is at least one report; its key is its name in the legend.
    """
    lowest = min(report.resolution for report in reports.values())
    decades = [mark for mark in (float(f"1e-{n}") for n in range(12)) if mark >= lowest * 0.999]
    panel = _panel(
        "Identification rate",
        across=Axis(
            name="false-accept rate (share of unknown people named)",
            low=min(lowest, 0.1),
            high=1.0,
            marks=decades,
            is_logarithmic=True,
        ),
        up=Axis.between(ticks(0.0, 1.0), ""),
        lines={
            # A rate of 0 has no place on a logarithmic axis.
            name: [point for point in report.curve if point[0] > 0]
            for name, report in reports.items()
        },
    )
    drawn = chart("Identification rate", *panel, width=_PANEL_WIDTH, height=_PANEL_HEIGHT)
    return standalone(drawn)


def _plane(across: Axis, up: Axis) -> Plane:
    """Lay out axes for a chart without a title or a legend."""
    return Plane(
        across=across,
        up=up,
        left=52,
        right=_WIDTH - 16,
        top=26,
        bottom=_HEIGHT - 44,
        name_of_up_at=(4, 10),
    )


def _panel(title: str, *, across: Axis, up: Axis, lines: _Lines) -> list[Markup]:
    """Draw lines between axes, with the title above and the legend beside them."""
    right = _PANEL_WIDTH - 110
    plane = Plane(
        across=across,
        up=up,
        left=56,
        right=right,
        top=34,
        bottom=_PANEL_HEIGHT - 44,
        name_of_up_at=(8, 20),
    )
    drawn = [text(plane.left, 20, title, font_weight="bold"), plane.axes()]
    for row, (name, points) in enumerate(lines.items()):
        colour = COLOURS[row % len(COLOURS)]
        y = plane.top + 10 + 16 * row
        drawn += [
            plane.curve(points, colour=colour),
            element("path", d=f"M{right + 10} {y:g}h18", stroke=colour, stroke_width=2),
            text(right + 34, y + 4, name),
        ]
    return drawn


def _box(x: float, y: float, size: float, *, colour: str, opacity: float, rx: int = 0) -> Markup:
    return element(
        "rect", x=x, y=y, width=size, height=size, rx=rx, fill=colour,
        fill_opacity=f"{opacity:.3f}",
    )  # fmt: skip


def _cell(row: int, column: int, score: float | None, *, count: int) -> list[Markup]:
    x, y = _CELLS_LEFT + _CELL * column, _CELLS_TOP + _CELL * row
    middle = (x + _CELL / 2, y + _CELL / 2)
    if score is None:
        box = _box(x + 1, y + 1, _CELL - 2, colour="currentColor", opacity=0.06, rx=4)
        return [box, text(middle[0], middle[1] + 4, "-", text_anchor="middle")]
    return [
        _box(x + 1, y + 1, _CELL - 2, colour=COLOURS[0], opacity=0.08 + 0.5 * score, rx=4),
        text(middle[0], middle[1] + 1, f"{100 * score:.1f}", text_anchor="middle", font_size=13),
        text(middle[0], middle[1] + 16, f"n={count}", text_anchor="middle", font_size=9),
    ]


def _outline(shape: int, x: float, y: float) -> str:
    if shape == 0:
        return f"M{x - 4:.1f} {y:.1f}a4 4 0 1 0 8 0a4 4 0 1 0 -8 0Z"
    corners, turn, radius = ((4, 0.25, 5.0), (3, -0.5, 5.5), (4, 0.0, 5.5))[shape - 1]
    angles = [math.pi * (turn + 2 * n / corners) for n in range(corners)]
    points = [f"{x + radius * math.cos(a):.1f} {y + radius * math.sin(a):.1f}" for a in angles]
    return f"M{'L'.join(points)}Z"
