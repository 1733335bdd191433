"""The page of an evaluation, and its charts as files."""

from collections.abc import Iterator
from pathlib import Path

from markupsafe import Markup

from reid.adapters.pages.charts import draw_camera_pairs, draw_cmc, draw_histogram, draw_map
from reid.adapters.pages.documents import render
from reid.adapters.pages.files import PNG, Rasterise, write_chart, write_page
from reid.adapters.pages.svg import standalone
from reid.domain.values.page_data import EvaluationPageData

_SHOWN = ("Rank-1", "Rank-5", "Rank-10", "mAP", "mINP")
_TITLES = {
    "cmc": "CMC curve",
    "camera-pairs": "mAP per pair of cameras",
    "similarities": "Similarities",
    "map": "Map of a sample",
}


class HtmlEvaluationPage:
    """One HTML file with everything in it."""

    def __init__(self, path: Path) -> None:
        """Keep the page's name; nothing is touched yet."""
        self._path = path

    def write(self, page_data: EvaluationPageData) -> tuple[str, ...]:
        """Replace the page."""
        write_page(self._path, render_evaluation_page(page_data))
        return (str(self._path),)


class ChartFiles:
    """A folder with an SVG file for each chart, and a PNG file where `rasterise` is given."""

    def __init__(self, folder: Path, *, rasterise: Rasterise | None) -> None:
        """Keep the folder's name; nothing is written yet."""
        self._folder = folder
        self._rasterise = rasterise

    def write(self, page_data: EvaluationPageData) -> tuple[str, ...]:
        """Replace the charts."""
        endings = (".svg",) if self._rasterise is None else (".svg", PNG)
        places = []
        for name, chart, _ in _charts(page_data):
            svg = standalone(chart)
            for ending in endings:
                path = self._folder / f"{name}{ending}"
                write_chart(path, svg, rasterise=self._rasterise)
                places.append(str(path))
        return tuple(places)


def render_evaluation_page(page_data: EvaluationPageData) -> str:
    """Write the page's HTML."""
    report = page_data.report
    charts = [(_TITLES[name], chart, words) for name, chart, words in _charts(page_data)]
    if not page_data.analysis.points:
        charts.append((_TITLES["map"], Markup(), f"There is none: {page_data.analysis.map_method}"))
    return render(
        "evaluation.html",
        title=page_data.title,
        assets=["page.css", "strip.css", "evaluation.css", "images.js"],
        page_data=page_data,
        charts=charts,
        numbers=[(name, report.measures[name]) for name in _SHOWN],
    )


def _charts(page_data: EvaluationPageData) -> Iterator[tuple[str, Markup, str]]:
    """Yield each chart's file name, drawing and description."""
    analysis = page_data.analysis
    yield (
        "cmc",
        draw_cmc(page_data.report.cmc),
        "Share of queries whose first true match is at this rank or better.",
    )
    counts = "does not count" if page_data.report.is_same_camera_removed else "counts"
    yield (
        "camera-pairs",
        draw_camera_pairs(analysis.camera_pairs),
        "Queries of one camera against the gallery images of one camera alone, in percent; n is "
        f"how many queries have a match there. A query's own camera {counts}.",
    )
    yield (
        "similarities",
        draw_histogram(analysis.histogram),
        "Share of the pairs of a query and a gallery image, each kind by itself: the less the "
        "two overlap, the better people are distinguished.",
    )
    if analysis.points:
        yield (
            "map",
            draw_map(analysis.points),
            f"{analysis.map_method}. A colour and shape per person, queries outlined; near means "
            "alike, far apart means little.",
        )
