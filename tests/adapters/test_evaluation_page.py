"""The evaluation's page and charts as text; tests/pages looks at the page in a browser."""

import re
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from markupsafe import Markup
from PIL import Image

from reid.adapters.pages.charts import (
    draw_camera_pairs,
    draw_cmc,
    draw_histogram,
    draw_map,
    standalone,
)
from reid.adapters.pages.documents import PageFile
from reid.adapters.pages.evaluation import ChartFiles, render_evaluation_page
from reid.adapters.pages.rasters import rasterise
from reid.domain.errors import CheckpointError
from reid.domain.values.analyses import MapPoint, SimilarityHistogram
from tests.page_data import evaluation_page_data

SVG = "{http://www.w3.org/2000/svg}"
PAGE_DATA = evaluation_page_data()


def texts(chart: Markup) -> list[str]:
    return [element.text or "" for element in ET.fromstring(chart).iter(f"{SVG}text")]


def test_the_cmc_curve_rises_from_left_to_right() -> None:
    line = ET.fromstring(draw_cmc((0.5, 0.75, 1.0))).find(f".//{SVG}polyline")
    assert line is not None
    points = [tuple(map(float, pair.split(","))) for pair in line.attrib["points"].split()]
    across, down = zip(*points, strict=True)
    assert list(across) == sorted(across)
    assert list(down) == sorted(down, reverse=True)
    assert "100%" in texts(draw_cmc((0.5, 0.75, 1.0)))


@pytest.mark.parametrize("cmc", [(1.0,), (0.0, 0.0), (1.0,) * 50, (0.985, 0.99)])
def test_any_cmc_curve_can_be_drawn(cmc: tuple[float, ...]) -> None:
    chart = draw_cmc(cmc)
    assert "nan" not in chart
    assert f"rank 1: {cmc[0]:.2%}" in chart


def test_a_histogram_shows_shares_of_each_kind_of_pair_and_how_many_there_are() -> None:
    chart = draw_histogram(PAGE_DATA.analysis.histogram)
    words = texts(chart)
    assert "same person (4 pairs)" in words
    assert "different people (10 pairs)" in words
    assert "0.8" in words
    assert len(ET.fromstring(chart).findall(f".//{SVG}path[@fill-opacity]")) == 2


def test_an_empty_histogram_can_be_drawn() -> None:
    empty = SimilarityHistogram(edges=(-1.0, 0.0, 1.0), same=(0, 0), different=(0, 0))
    assert "nan" not in draw_histogram(empty)


def test_pairs_of_cameras_count_from_one_and_a_pair_without_a_match_is_a_dash() -> None:
    words = texts(draw_camera_pairs(PAGE_DATA.analysis.camera_pairs))
    assert words[:6] == ["gallery camera", "query", "1", "2", "1", "2"]
    assert words[6:] == ["-", "75.0", "n=4", "50.0", "n=3", "-"]


def test_people_on_the_map_have_a_colour_and_shape_each_and_queries_an_outline() -> None:
    marks = ET.fromstring(draw_map(PAGE_DATA.analysis.points)).findall(f"{SVG}path")
    assert len(marks) == 30
    looks = {(mark.attrib["fill"], mark.attrib["d"].count("L")) for mark in marks}
    assert len(looks) >= 18
    assert sum(mark.attrib["stroke"] == "currentColor" for mark in marks) == 6
    title = marks[0].find(f"{SVG}title")
    assert title is not None
    assert title.text == "0, camera 1, query"


def test_a_map_of_one_place_can_be_drawn() -> None:
    point = MapPoint(x=0.0, y=0.0, label="<a>", camera="1", is_query=False)
    assert "&lt;a&gt;" in draw_map([point])


def test_a_chart_by_itself_is_a_white_document() -> None:
    root = ET.fromstring(standalone(draw_cmc((0.5, 1.0))))
    assert root.tag == f"{SVG}svg"
    assert root[0].attrib["fill"] == "white"


def test_charts_are_files_of_their_own(tmp_path: Path) -> None:
    places = ChartFiles(tmp_path / "plots", rasterise=None).write(PAGE_DATA)
    assert [Path(place).name for place in places] == [
        "cmc.svg",
        "camera-pairs.svg",
        "similarities.svg",
        "map.svg",
    ]
    for place in places:
        assert ET.parse(place).getroot().tag == f"{SVG}svg"


def test_charts_are_images_too_where_something_makes_them(tmp_path: Path) -> None:
    places = ChartFiles(tmp_path / "plots", rasterise=rasterise).write(PAGE_DATA)
    assert [Path(place).name for place in places[:2]] == ["cmc.svg", "cmc.png"]
    assert len(places) == 8
    with Image.open(places[1]) as image:
        assert image.format == "PNG"
        assert image.size == (1040, 640)


def test_an_image_of_a_chart_has_its_words() -> None:
    chart = standalone(draw_cmc((0.5, 1.0)))
    wordless = re.sub(r"<text.*?</text>", "", chart)
    assert wordless != chart
    words, without = (_pixels(rasterise(svg)) for svg in (chart, wordless))
    below_the_axis = slice(600, 640)  # where it says what is measured
    assert np.count_nonzero(words[below_the_axis] < without[below_the_axis]) > 50
    assert _pixels(rasterise(chart)).tobytes() == words.tobytes()


def _pixels(png: bytes) -> np.ndarray:
    with Image.open(BytesIO(png)) as image:
        return np.asarray(image.convert("RGB"))


def test_the_page_tells_scores_charts_and_hard_queries() -> None:
    page = render_evaluation_page(PAGE_DATA)
    for words in ("62.50%", "Search: exact", "AP 12.50%", "first of 2 matches at rank 3"):
        assert words in page
    assert page.count("<svg") == 4
    assert "image gone" not in page
    assert "A query&#39;s own camera does not count." in page
    kept = replace(PAGE_DATA, report=replace(PAGE_DATA.report, is_same_camera_removed=False))
    assert "A query&#39;s own camera counts." in render_evaluation_page(kept)


def test_without_a_map_the_page_says_why_and_there_is_no_file_of_it(tmp_path: Path) -> None:
    reason = "it takes the extra 'plots'"
    page_data = replace(
        PAGE_DATA, analysis=replace(PAGE_DATA.analysis, points=(), map_method=reason)
    )
    page = render_evaluation_page(page_data)
    assert page.count("<svg") == 3
    assert "There is none: it takes the extra &#39;plots&#39;" in page
    places = ChartFiles(tmp_path, rasterise=None).write(page_data)
    assert not any("map" in Path(place).name for place in places)


def test_hostile_words_stay_words() -> None:
    hostile = "</svg><script>hacked=1</script>"
    points = tuple(replace(point, label=hostile) for point in PAGE_DATA.analysis.points)
    hardest = tuple(replace(one, name=hostile, label=hostile) for one in PAGE_DATA.analysis.hardest)
    analysis = replace(PAGE_DATA.analysis, points=points, hardest=hardest)
    page = render_evaluation_page(replace(PAGE_DATA, title=hostile, analysis=analysis))
    assert page.count("<script") == 2
    assert hostile not in page


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="file"):
        PageFile(tmp_path / "file" / "page.html", render=render_evaluation_page).write(PAGE_DATA)
    with pytest.raises(CheckpointError, match="file"):
        ChartFiles(tmp_path / "file", rasterise=None).write(PAGE_DATA)
