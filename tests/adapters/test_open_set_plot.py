"""The plot of open-set identification."""

from xml.etree import ElementTree as ET

import pytest

from reid.adapters.pages.charts import COLOURS, Axis, draw_open_set
from reid.domain.values.open_set import OpenSetReport

SVG = "{http://www.w3.org/2000/svg}"
REPORT = OpenSetReport(
    num_known=10,
    num_unknown=100,
    rank_1=0.9,
    points=(),
    curve=((0.0, 0.2), (0.01, 0.4), (0.1, 0.7), (1.0, 0.9)),
)


def texts(svg: ET.Element) -> list[str]:
    return [element.text or "" for element in svg.iter(f"{SVG}text")]


def places(svg: ET.Element, *, row: int = 0) -> list[tuple[float, float]]:
    line = list(svg.iter(f"{SVG}polyline"))[row]
    pairs = [point.split(",") for point in line.attrib["points"].split()]
    return [(float(x), float(y)) for x, y in pairs]


def test_decades_of_the_false_accept_rate_are_as_wide_as_each_other() -> None:
    svg = ET.fromstring(draw_open_set({"best": REPORT}))
    (first, second, third) = places(svg)
    assert second[0] - first[0] == pytest.approx(third[0] - second[0], abs=0.11)
    assert first[1] > second[1] > third[1]
    assert {"1", "0.1", "0.01", "best"} <= set(texts(svg))
    assert "0.001" not in texts(svg)


def test_every_report_has_a_line_and_a_name() -> None:
    svg = ET.fromstring(draw_open_set({"best": REPORT, "mean": REPORT}))
    assert {"best", "mean"} <= set(texts(svg))
    colours = [line.attrib["stroke"] for line in svg.iter(f"{SVG}polyline")]
    assert colours == list(COLOURS[:2])
    assert places(svg) == places(svg, row=1)


def test_the_same_numbers_give_the_same_bytes() -> None:
    assert draw_open_set({"best": REPORT}) == draw_open_set({"best": REPORT})


@pytest.mark.parametrize(("value", "share"), [(1e-3, 0.0), (1.0, 1.0), (10**-1.5, 0.5), (0.0, 0.0)])
def test_a_logarithmic_axis_counts_decades(value: float, share: float) -> None:
    axis = Axis(name="", low=1e-3, high=1.0, marks=(), is_logarithmic=True)
    assert axis.share(value) == pytest.approx(share)
