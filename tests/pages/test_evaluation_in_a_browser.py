"""The evaluation's page in headless Chromium."""

from pathlib import Path

from reid.adapters.pages.documents import write_page
from reid.adapters.pages.evaluation import render_evaluation_page
from tests.page_data import evaluation_page_data
from tests.pages.browser import log_of, needs_browser, opened, requests_of

pytestmark = needs_browser

WIDTHS = """
    const done = arguments[0];
    const images = [...document.querySelectorAll("img")];
    const wait = () => images.every((image) => image.complete && image.src)
        ? done(images.map((image) => image.naturalWidth)) : setTimeout(wait, 20);
    wait();
"""


def test_charts_and_images_are_shown_and_nothing_is_asked_of_anyone(tmp_path: Path) -> None:
    place = write_page(tmp_path / "evaluation.html", render_evaluation_page(evaluation_page_data()))
    with opened(tmp_path) as browser:
        browser.get(Path(place).as_uri())
        browser.execute_script("scrollTo(0, document.body.scrollHeight)")
        widths = browser.execute_async_script(WIDTHS)
        assert len(widths) == 2 * 4
        assert all(width > 0 for width in widths)
        boxes = browser.execute_script(
            "return [...document.querySelectorAll('svg')].map(s => s.getBoundingClientRect().width)"
        )
        assert len(boxes) == 4
        assert all(width > 100 for width in boxes)
        assert log_of(browser, "browser") == []
        assert requests_of(browser) == [Path(place).as_uri()]
