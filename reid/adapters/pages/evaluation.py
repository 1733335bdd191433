"""The page of an evaluation, and its charts as files."""

from collections.abc import Iterator
from pathlib import Path

from reid.adapters.pages.charts import (
    draw_camera_pairs,
    draw_cmc,
    draw_histogram,
    draw_map,
    standalone,
)
from reid.adapters.pages.documents import PictureStore, document
from reid.adapters.pages.files import PNG, Rasterise, write_chart, write_page
from reid.adapters.pages.markup import Markup, tag
from reid.adapters.pages.strips import ranked_picture
from reid.domain.values.analyses import HardQuery
from reid.domain.values.counts import counted
from reid.domain.values.sheets import EvaluationSheet

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

    def write(self, sheet: EvaluationSheet) -> tuple[str, ...]:
        """Replace the page."""
        write_page(self._path, render_evaluation_page(sheet))
        return (str(self._path),)


class ChartFiles:
    """A folder with files for each chart: SVG, and PNG where something makes them."""

    def __init__(self, folder: Path, *, rasterise: Rasterise | None) -> None:
        """Keep the folder's name and what makes PNG files; nothing is touched yet."""
        self._folder = folder
        self._rasterise = rasterise

    def write(self, sheet: EvaluationSheet) -> tuple[str, ...]:
        """Replace the charts."""
        endings = (".svg",) if self._rasterise is None else (".svg", PNG)
        places = []
        for name, chart, _ in _charts(sheet):
            svg = standalone(chart)
            for ending in endings:
                path = self._folder / f"{name}{ending}"
                write_chart(path, svg, rasterise=self._rasterise)
                places.append(str(path))
        return tuple(places)


def render_evaluation_page(sheet: EvaluationSheet) -> str:
    """Write the page's HTML."""
    pictures = PictureStore()
    charts = [
        tag("section", tag("h2", _TITLES[name]), tag("p", words), chart)
        for name, chart, words in _charts(sheet)
    ]
    if not sheet.analysis.points:
        words = f"There is none: {sheet.analysis.map_method}"
        charts.append(tag("section", tag("h2", _TITLES["map"]), tag("p", words)))
    notes = tag("ul", *(tag("li", note) for note in sheet.notes), class_="notes")
    return document(
        title=sheet.title,
        body=[
            tag("header", tag("h1", sheet.title), notes, class_="top"),
            tag(
                "main",
                _numbers(sheet),
                tag("div", *charts, class_="charts"),
                _hardest(sheet, pictures=pictures),
            ),
            tag(
                "footer",
                "Written by reid evaluate. This file holds pictures of people: keep and pass it on "
                "as you would the pictures.",
            ),
        ],
        assets=["page.css", "strip.css", "evaluation.css", "pictures.js"],
        pictures=pictures,
    )


def _charts(sheet: EvaluationSheet) -> Iterator[tuple[str, Markup, str]]:
    """Give each chart with its file's name and a sentence about it."""
    analysis = sheet.analysis
    yield (
        "cmc",
        draw_cmc(sheet.report.cmc),
        "Share of queries whose first true match stands at this rank or better.",
    )
    rule = (
        "A query's own camera does not count."
        if sheet.report.is_same_camera_removed
        else "A query's own camera counts."
    )
    yield (
        "camera-pairs",
        draw_camera_pairs(analysis.camera_pairs),
        "Queries of one camera against the gallery pictures of one camera alone, in percent; n is "
        f"how many queries have a match there. {rule}",
    )
    yield (
        "similarities",
        draw_histogram(analysis.histogram),
        "Share of the pairs of a query and a gallery picture, each kind by itself: the less the "
        "two overlap, the better people are told apart.",
    )
    if analysis.points:
        yield (
            "map",
            draw_map(analysis.points),
            f"{analysis.map_method}. A colour and shape per person, queries outlined; near means "
            "alike, far apart means little.",
        )


def _numbers(sheet: EvaluationSheet) -> Markup:
    report = sheet.report
    shown = [
        ("Rank-1", report.rank(1)),
        ("Rank-5", report.rank(5)),
        ("Rank-10", report.rank(10)),
        ("mAP", report.mean_average_precision),
        ("mINP", report.mean_inverse_negative_penalty),
    ]
    boxes = [tag("div", tag("dt", name), tag("dd", f"{share:.2%}")) for name, share in shown]
    return tag("dl", *boxes, class_="numbers")


def _hardest(sheet: EvaluationSheet, *, pictures: PictureStore) -> Markup:
    rows = [_hard(one, sheet=sheet, pictures=pictures) for one in sheet.analysis.hardest]
    return tag(
        "section",
        tag("h2", "Hardest queries"),
        tag(
            "p",
            "Lowest average precision first, with what was ranked above the first match; the match "
            "stands last.",
        ),
        tag("ol", *rows),
        class_="hard",
    )


def _hard(query: HardQuery, *, sheet: EvaluationSheet, pictures: PictureStore) -> Markup:
    facts = [
        query.image,
        f"person {query.label}, camera {query.camera}",
        f"AP {query.average_precision:.2%}",
        f"first of {counted(query.num_matches, 'match', 'matches')} at rank "
        f"{query.first_match_rank}",
    ]
    shown = pictures.image(
        sheet.query_thumbnails.get(query.image), alt=f"Query picture {query.image}"
    )
    ranked = [(picture, None) for picture in query.above] + [(query.match, "match")]
    strip = [
        tag(
            "li",
            ranked_picture(
                picture,
                thumbnail=sheet.gallery_thumbnails.get(picture.image),
                true_label=query.label,
                pictures=pictures,
            ),
            class_=role,
        )
        for picture, role in ranked
    ]
    caption = tag("figcaption", *(tag("div", fact) for fact in facts))
    return tag(
        "li",
        tag("figure", shown, caption, class_="query"),
        tag("ol", *strip, class_="strip", aria_label="Ranked above the first match, and the match"),
    )
