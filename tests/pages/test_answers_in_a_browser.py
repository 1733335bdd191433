"""The answers' page in headless Chromium."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import ActionChains, Chrome, Keys
from selenium.webdriver.common.by import By

from reid.adapters.pages.documents import write_page
from reid.adapters.pages.evaluation import render_answers_page
from reid.domain.values.page_data import AnswersPageData
from tests.page_data import answer, many, page_data
from tests.pages.browser import log_of, needs_browser, opened, requests_of

pytestmark = needs_browser

IN_VIEW = """
    const done = arguments[0];
    const near = [...document.querySelectorAll("img")].filter((image) => {
        const box = image.getBoundingClientRect();
        return box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth;
    });
    const wait = () => near.every((image) => image.complete && image.src)
        ? done(near.map((image) => image.naturalWidth)) : setTimeout(wait, 20);
    wait();
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with opened(tmp_path_factory.mktemp("chromium")) as driver:
        yield driver


def show(browser: Chrome, folder: Path, content: AnswersPageData) -> str:
    address = Path(write_page(folder / "answers.html", render_answers_page(content))).as_uri()
    browser.get("about:blank")
    for kind in ("browser", "performance"):
        log_of(browser, kind)
    browser.get(address)
    return address


def names(browser: Chrome) -> list[str]:
    """Of the answers that are shown, in their order on the page."""
    found: list[str] = browser.execute_script(
        "return [...document.querySelectorAll('.answer:not([hidden])')].map(r => r.dataset.name)"
    )
    return found


def press(browser: Chrome, *keys: str) -> None:
    """Type as on a keyboard: what a key hid a moment ago may have the focus still."""
    for key in keys:
        ActionChains(browser).send_keys(key).perform()


def current(browser: Chrome) -> Any:
    return browser.execute_script(
        "const row = document.querySelector('[aria-current]'); return row && row.dataset.name"
    )


def test_images_in_view_are_shown_and_the_others_when_they_come_near(
    browser: Chrome, tmp_path: Path
) -> None:
    show(browser, tmp_path, many(500))
    widths = browser.execute_async_script(IN_VIEW)
    assert len(widths) > 5
    assert all(width > 0 for width in widths)
    unread = "return document.querySelectorAll('img:not([src])').length"
    assert browser.execute_script(unread) > 2000
    press(browser, Keys.END)
    assert current(browser) == "q/0499.jpg"
    assert all(width > 0 for width in browser.execute_async_script(IN_VIEW))


def test_nothing_is_asked_of_anyone_and_nothing_goes_wrong(browser: Chrome, tmp_path: Path) -> None:
    address = show(browser, tmp_path, many(60))
    press(browser, "j", "w", "?", "?", "a", Keys.END)
    browser.execute_async_script(IN_VIEW)
    assert log_of(browser, "browser") == []
    assert requests_of(browser) == [address]
    fetched = "return performance.getEntriesByType('resource').map(e => e.name.slice(0, 5))"
    assert set(browser.execute_script(fetched)) <= {"data:"}


def test_answers_are_filtered_by_words_and_by_verdict(browser: Chrome, tmp_path: Path) -> None:
    show(browser, tmp_path, page_data())
    assert len(names(browser)) == 4
    search = browser.find_element(By.ID, "search")
    search.send_keys("BERT carl")
    assert names(browser) == ["q/2.jpg"]
    assert browser.find_element(By.ID, "shown").text == "1 of 4 shown"
    search.send_keys(" nothing")
    assert names(browser) == []
    assert browser.find_element(By.ID, "none").is_displayed()
    search.send_keys(Keys.ESCAPE)
    assert len(names(browser)) == 4
    for verdict, name in (("right", "1"), ("wrong", "2"), ("unknown", "3"), ("unjudged", "4")):
        browser.find_element(By.CSS_SELECTOR, f"button[data-verdict={verdict}]").click()
        assert names(browser) == [f"q/{name}.jpg"]
    browser.find_element(By.CSS_SELECTOR, "button[data-verdict='']").click()
    assert len(names(browser)) == 4


def test_answers_are_put_in_order(browser: Chrome, tmp_path: Path) -> None:
    show(browser, tmp_path, many(9))
    order = browser.find_element(By.ID, "order")
    asked = [f"q/{number:04d}.jpg" for number in range(9)]
    assert names(browser) == asked
    for value, wanted in (("unsurest", asked[::-1]), ("surest", asked), ("asked", asked)):
        order.find_element(By.CSS_SELECTOR, f"option[value={value}]").click()
        assert names(browser) == wanted
    order.find_element(By.CSS_SELECTOR, "option[value=label]").click()
    labels = browser.execute_script(
        "return [...document.querySelectorAll('.answer')].map(r => r.dataset.label)"
    )
    assert labels == sorted(labels, key=lambda label: int(label.split()[1]))


def test_keys_walk_through_the_answers_that_are_shown(browser: Chrome, tmp_path: Path) -> None:
    show(browser, tmp_path, page_data())
    assert current(browser) is None
    press(browser, "j", "j")
    assert current(browser) == "q/2.jpg"
    press(browser, "k", Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ARROW_UP)
    assert current(browser) == "q/2.jpg"
    press(browser, "r")
    assert current(browser) is None
    assert names(browser) == ["q/1.jpg"]
    press(browser, "a", Keys.END, "j")
    assert current(browser) == "q/4.jpg"
    press(browser, "/", "j", "j")
    assert browser.find_element(By.ID, "search").get_attribute("value") == "jj"
    press(browser, Keys.ESCAPE, "?")
    assert browser.find_element(By.ID, "help").is_displayed()
    browser.find_element(By.ID, "close").click()
    assert not browser.find_element(By.ID, "help").is_displayed()


def test_hostile_names_and_labels_run_nothing(browser: Chrome, tmp_path: Path) -> None:
    hostile = "</script><script>hacked=1</script><img src=x onerror=hacked=1>"
    address = show(browser, tmp_path, page_data(answer(hostile, hostile), title=hostile))
    assert browser.title == hostile
    assert browser.find_element(By.TAG_NAME, "h1").text == hostile
    assert browser.execute_script("return typeof hacked") == "undefined"
    assert log_of(browser, "browser") == []
    assert requests_of(browser) == [address]


def test_a_script_that_is_not_ours_would_be_refused(browser: Chrome, tmp_path: Path) -> None:
    show(browser, tmp_path, page_data())
    browser.execute_script(
        "const one = document.createElement('script'); one.textContent = 'hacked = 1';"
        "document.body.append(one);"
    )
    assert browser.execute_script("return typeof hacked") == "undefined"
    assert "Content Security Policy" in log_of(browser, "browser")[0]["message"]
