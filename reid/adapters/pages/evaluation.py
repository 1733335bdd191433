"""The pages of an evaluation and of an identification, and an evaluation's charts as files."""

from collections import Counter
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
from reid.domain.values.page_data import AnswersPageData, EvaluationPageData, Verdict, id_of

_MORE_IMAGES = 8  # further images shown of a query that has several
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


def render_answers_page(page_data: AnswersPageData) -> str:
    """Write the page's HTML."""
    verdicts = [Verdict.of(answer) for answer in page_data.answers]
    return render(
        "answers.html",
        title=page_data.title,
        assets=["page.css", "strip.css", "answers.css", "images.js", "answers.js"],
        page_data=page_data,
        answers=list(zip(page_data.answers, verdicts, strict=True)),
        counts=Counter(verdicts),
        verdicts=Verdict,
        id_of=id_of,
        max_more=_MORE_IMAGES,
    )


def _charts(page_data: EvaluationPageData) -> dict[str, Markup]:
    analysis = page_data.analysis
    charts = {
        "cmc": draw_cmc(page_data.report.cmc),
        "camera-pairs": draw_camera_pairs(analysis.camera_pairs),
        "similarities": draw_histogram(analysis.histogram),
    }
    return charts | ({"map": draw_map(analysis.points)} if analysis.points else {})
