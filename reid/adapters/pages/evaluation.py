"""The page of an evaluation, and its charts as files."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from reid.adapters.pages.charts import (
    draw_camera_pairs,
    draw_cmc,
    draw_histogram,
    draw_map,
    standalone,
)
from reid.adapters.pages.documents import render, write_page
from reid.domain.values.page_data import EvaluationPageData

_SHOWN = ("Rank-1", "Rank-5", "Rank-10", "mAP", "mINP")


@dataclass(frozen=True, slots=True)
class ChartFiles:
    """A folder with an SVG file for each chart, and a PNG file where `rasterise` is given."""

    folder: Path
    rasterise: Callable[[str], bytes] | None

    def write(self, page_data: EvaluationPageData) -> tuple[str, ...]:
        """Replace the charts."""
        places = []
        for name, chart in _charts(page_data).items():
            svg = standalone(chart)
            places.append(write_page(self.folder / f"{name}.svg", svg))
            if self.rasterise is not None:
                places.append(write_page(self.folder / f"{name}.png", self.rasterise(svg)))
        return tuple(places)


def render_evaluation_page(page_data: EvaluationPageData) -> str:
    """Write the page's HTML."""
    return render(
        "evaluation.html",
        title=page_data.title,
        assets=["page.css", "strip.css", "evaluation.css", "images.js"],
        page_data=page_data,
        charts=_charts(page_data),
        shown=_SHOWN,
    )


def _charts(page_data: EvaluationPageData) -> dict[str, Markup]:
    """Draw each chart, by its file's name."""
    analysis = page_data.analysis
    charts = {
        "cmc": draw_cmc(page_data.report.cmc),
        "camera-pairs": draw_camera_pairs(analysis.camera_pairs),
        "similarities": draw_histogram(analysis.histogram),
    }
    return charts | ({"map": draw_map(analysis.points)} if analysis.points else {})
