"""What every page of answers promises."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from reid.adapters.pages.answers import HtmlAnswersPage
from reid.ports.pages import AnswersPage
from tests.fakes.answers_page import FakeAnswersPage
from tests.sheets import sheet

PAGES: dict[str, Callable[[Path], AnswersPage]] = {
    "html": lambda folder: HtmlAnswersPage(folder / "new" / "answers.html"),
    "fake": lambda _: FakeAnswersPage(),
}


@pytest.fixture(params=list(PAGES.values()), ids=list(PAGES))
def page(request: pytest.FixtureRequest, tmp_path: Path) -> AnswersPage:
    factory: Callable[[Path], AnswersPage] = request.param
    return factory(tmp_path)


def test_a_page_is_written_again_in_the_same_place(page: AnswersPage) -> None:
    place = page.write(sheet())
    assert place
    assert page.write(sheet(title="Another")) == place


def test_a_sheet_without_answers_or_pictures_is_still_a_page(page: AnswersPage) -> None:
    assert page.write(replace(sheet(), query_thumbnails={}, gallery_thumbnails={}))
    assert page.write(replace(sheet(), answers=(), num_queries=0))
