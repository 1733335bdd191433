"""What every place promises where an evaluation is shown."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from reid.adapters.pages.evaluation import ChartFiles, HtmlEvaluationPage
from reid.adapters.pages.rasters import rasterise
from reid.ports.pages import EvaluationPage
from tests.fakes.evaluation_page import FakeEvaluationPage
from tests.page_data import evaluation_page_data

PAGES: dict[str, Callable[[Path], EvaluationPage]] = {
    "html": lambda folder: HtmlEvaluationPage(folder / "new" / "evaluation.html"),
    "svg": lambda folder: ChartFiles(folder / "plots", rasterise=None),
    "png": lambda folder: ChartFiles(folder / "plots", rasterise=rasterise),
    "fake": lambda _: FakeEvaluationPage(),
}


@pytest.fixture(params=list(PAGES.values()), ids=list(PAGES))
def page(request: pytest.FixtureRequest, tmp_path: Path) -> EvaluationPage:
    factory: Callable[[Path], EvaluationPage] = request.param
    return factory(tmp_path)


def test_it_is_written_again_in_the_same_places(page: EvaluationPage) -> None:
    places = page.write(evaluation_page_data())
    assert len(places) == len(set(places)) >= 1
    assert page.write(evaluation_page_data(title="Another")) == places


def test_without_a_map_hard_queries_or_images_there_is_still_something(
    page: EvaluationPage,
) -> None:
    whole = evaluation_page_data()
    bare = replace(whole.analysis, points=(), hardest=())
    assert page.write(replace(whole, analysis=bare, query_thumbnails={}, gallery_thumbnails={}))
