"""Open-set identification as SVG."""

from collections.abc import Mapping

from reid.adapters.pages.line_plots import Axis, Line, Panel, draw_panels, ticks
from reid.domain.values.people import OpenSetReport


def draw_open_set(reports: Mapping[str, OpenSetReport]) -> str:
    """Draw the identification rate over the false-accept rate, one line for each report.

    Args:
        reports: By the name that the legend gives them; at least one.

    Returns:
        An SVG document, the same for the same numbers.
    """
    lowest = min(report.resolution for report in reports.values())
    decades = tuple(
        mark for mark in (float(f"1e-{n}") for n in range(12)) if mark >= lowest * (1 - 1e-9)
    )
    low = min(lowest, 0.1)
    lines = [
        # A rate of 0 has no place on a logarithmic axis.
        Line(name=name, points=[point for point in report.curve if point[0] > 0])
        for name, report in reports.items()
    ]
    return draw_panels(
        [
            Panel(
                title="Identification rate",
                across=Axis(
                    name="false-accept rate (share of strangers named)",
                    low=low,
                    high=1.0,
                    marks=decades,
                    is_logarithmic=True,
                ),
                up=Axis(name="", low=0.0, high=1.0, marks=ticks(0.0, 1.0)),
                lines=lines,
            )
        ]
    )
