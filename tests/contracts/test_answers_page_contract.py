"""What every page of answers promises."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from reid.adapters.pages.answers import HtmlAnswersPage
from reid.ports.pages import AnswersPage
from tests.fakes.answers_page import FakeAnswersPage
from tests.page_data import page_data

PAGES: dict[str, Callable[[Path], AnswersPage]] = {
    "html": lambda folder: HtmlAnswersPage(folder / "new" / "answers.html"),
    "fake": lambda _: FakeAnswersPage(),
}


@pytest.fixture(params=list(PAGES.values()), ids=list(PAGES))
def page(request: pytest.FixtureRequest, tmp_path: Path) -> AnswersPage:
    factory: Callable[[Path], AnswersPage] = request.param
    return factory(tmp_path)


def test_a_page_is_written_again_in_the_same_place(page: AnswersPage) -> None:
    place = page.write(page_data())
    assert place
    assert page.write(page_data(title="Another")) == place


def test_a_page_data_without_answers_or_images_is_still_a_page(page: AnswersPage) -> None:
    assert page.write(replace(page_data(), query_thumbnails={}, gallery_thumbnails={}))
    assert page.write(replace(page_data(), answers=(), num_queries=0))
