"""What every page promises."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias, TypeVar

import pytest

from reid.adapters.pages.documents import PageFile
from reid.adapters.pages.evaluation import ChartFiles, render_answers_page, render_evaluation_page
from reid.adapters.pages.heatmaps import open_explanation_page
from reid.adapters.pages.markdown import MarkdownPage
from reid.adapters.pages.rasters import rasterise
from reid.domain.values.page_data import AnswersPageData, EvaluationPageData
from reid.domain.values.results import PUBLISHED_BASELINES, Results, RunSummary, StageCurves
from reid.ports.pages import Page
from tests.adapters.test_heatmaps import EXPLANATION
from tests.fakes.page import FakePage
from tests.page_data import evaluation_page_data, page_data

_Content = TypeVar("_Content")
Write: TypeAlias = Callable[[], tuple[str, ...]]

ANSWERS = page_data()
NO_IMAGES = replace(ANSWERS, query_thumbnails={}, gallery_thumbnails={})
NO_ANSWERS = replace(ANSWERS, answers=(), num_queries=0)
EVALUATION = evaluation_page_data()
BARE = replace(
    EVALUATION,
    analysis=replace(EVALUATION.analysis, points=(), hardest=()),
    query_thumbnails={},
    gallery_thumbnails={},
)
RUN = RunSummary(
    name="drawn",
    recipe="tiny",
    departures=(),
    encoder="rn-tiny",
    initialisation="random",
    trained_on="people",
    seed=None,
    curves=(StageCurves(stage="prompts", epochs=(1,), losses={"total": (1.0,)}),),
    training_seconds=None,
    device="cpu",
    evaluations=(),
)


def results(*runs: RunSummary) -> Results:
    return Results(runs=runs, pairs=(), uncompared=(), published_baselines=PUBLISHED_BASELINES)


def on(page: Page[_Content], content: _Content) -> Write:
    return lambda: page.write(content)


def answers_page(folder: Path) -> Page[AnswersPageData]:
    return PageFile(folder / "new" / "answers.html", render=render_answers_page)


def evaluation_page(folder: Path) -> Page[EvaluationPageData]:
    return PageFile(folder / "new" / "evaluation.html", render=render_evaluation_page)


PAGES: dict[str, Callable[[Path], Write]] = {
    "answers": lambda folder: on(answers_page(folder), ANSWERS),
    "answers without images": lambda folder: on(answers_page(folder), NO_IMAGES),
    "no answers": lambda folder: on(answers_page(folder), NO_ANSWERS),
    "evaluation": lambda folder: on(evaluation_page(folder), EVALUATION),
    "evaluation without a map": lambda folder: on(evaluation_page(folder), BARE),
    "charts": lambda folder: on(ChartFiles(folder / "plots", rasterise=None), EVALUATION),
    "charts as PNG": lambda folder: on(ChartFiles(folder / "p", rasterise=rasterise), EVALUATION),
    "charts without a map": lambda folder: on(ChartFiles(folder / "p", rasterise=rasterise), BARE),
    "heat maps": lambda folder: on(open_explanation_page(folder / "pair.png"), EXPLANATION),
    "explanation": lambda folder: on(open_explanation_page(folder / "pair.html"), EXPLANATION),
    "results": lambda folder: on(MarkdownPage(folder / "new" / "results.md"), results(RUN)),
    "no results": lambda folder: on(MarkdownPage(folder / "new" / "results.md"), results()),
    "fake": lambda _: on(FakePage[str](), "content"),
}


@pytest.mark.parametrize("open_page", list(PAGES.values()), ids=list(PAGES))
def test_it_is_written_again_in_the_same_places_with_the_same_bytes(
    open_page: Callable[[Path], Write], tmp_path: Path
) -> None:
    def files() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    write = open_page(tmp_path)
    places = write()
    written = files()
    assert len(places) == len(set(places)) >= 1
    assert places == ("page",) or sorted(places) == sorted(map(str, written))
    assert write() == places
    assert files() == written


def test_the_page_comes_first_and_a_figure_for_each_logged_training_follows(tmp_path: Path) -> None:
    unlogged = replace(RUN, name="unlogged", curves=())
    page, figure = MarkdownPage(tmp_path / "results.md").write(results(RUN, unlogged))
    assert page.endswith("results.md")
    assert "drawn" in figure
