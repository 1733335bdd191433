"""What every results page promises."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from reid.adapters.pages.markdown import MarkdownPage
from reid.domain.values.results import PUBLISHED_BASELINES, Results, RunSummary, StageCurves
from reid.ports.pages import ResultsPage
from tests.fakes.results_page import FakePage

PAGES: dict[str, Callable[[Path], ResultsPage]] = {
    "markdown": lambda folder: MarkdownPage(folder / "docs" / "results.md"),
    "fake": lambda _: FakePage(),
}

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


@pytest.fixture(params=list(PAGES.values()), ids=list(PAGES))
def page(request: pytest.FixtureRequest, tmp_path: Path) -> ResultsPage:
    factory: Callable[[Path], ResultsPage] = request.param
    return factory(tmp_path)


def results(*runs: RunSummary) -> Results:
    return Results(runs=runs, pairs=(), uncompared=(), published_baselines=PUBLISHED_BASELINES)


def test_the_page_comes_first_and_a_figure_for_each_logged_training_follows(
    page: ResultsPage,
) -> None:
    written = page.write(results(RUN, replace(RUN, name="unlogged", curves=())))
    assert len(written) == 2
    assert "drawn" in written[1]
    assert "unlogged" not in "".join(written)


def test_a_page_is_written_again_in_the_same_places(page: ResultsPage) -> None:
    assert page.write(results(RUN)) == page.write(results(RUN))


def test_a_page_of_no_run_is_still_a_page(page: ResultsPage) -> None:
    assert len(page.write(results())) == 1
