"""The answers' page as text; tests/pages looks at it in a browser."""

import json
import re
from base64 import b64decode, b64encode
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import pytest

from reid.adapters.pages.documents import PageFile
from reid.adapters.pages.evaluation import render_answers_page
from reid.domain.errors import CheckpointError
from tests.page_data import ANSWERS, answer, jpeg, many, page_data

HOSTILE = "</script><script>hacked=1</script><img src=x onerror='hacked=1'>\" onclick=\"hacked=1"


class Reader(HTMLParser):
    """Tags with their attributes, and the words between them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def named(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == name]


def block(page: str, name: str) -> str:
    found = re.search(rf"<{name}>(.*?)</{name}>", page, flags=re.DOTALL)
    assert found
    return found[1]


def test_each_answer_has_a_row_with_its_verdict_and_what_can_be_sorted_by() -> None:
    rows = [
        row for row in Reader(render_answers_page(page_data())).named("li") if "data-name" in row
    ]
    assert [row["data-verdict"] for row in rows] == ["right", "wrong", "unknown", "unjudged"]
    assert [row["data-name"] for row in rows] == [one.name for one in ANSWERS]
    assert rows[1]["data-label"] == "bert"
    assert rows[1]["data-similarity"] == "0.900000"
    text = rows[1]["data-text"]
    assert text is not None
    assert {"q/2.jpg", "bert", "carl", "zoe", "camera"} <= set(text.split())


def test_an_unknown_person_is_not_named() -> None:
    page = render_answers_page(page_data(answer("q/1.jpg", "anna", is_unknown=True)))
    assert "<h2>nobody known</h2>" in page
    assert "<h2>anna</h2>" not in page
    assert "similarity 0.900, nearest anna" in page
    assert "confidence 75.0%" in page


def test_an_image_that_is_shown_many_times_is_held_once() -> None:
    page = render_answers_page(many(40))
    reader = Reader(page)
    stored = json.loads(page.split('id="images">')[1].split("</script>")[0])
    shown = [name["data-image"] for name in reader.named("img")]
    assert len(shown) == 40 * 6
    assert {int(number or "") for number in shown} == set(range(len(stored)))
    assert len(stored) == len(set(stored)) < len(shown)
    assert b64decode(stored[0]) == jpeg("q/0000.jpg", pid=0)


def test_an_image_that_is_gone_is_said_to_be_gone() -> None:
    page = render_answers_page(replace(page_data(), query_thumbnails={}, gallery_thumbnails={}))
    reader = Reader(page)
    assert not reader.named("img")
    assert reader.words.count("image gone") == 3 * len(ANSWERS)


def test_a_page_that_leaves_queries_out_says_so() -> None:
    page = render_answers_page(replace(page_data(), num_queries=9))
    assert "This page shows the first 4 of 9 queries" in page
    assert "This page shows" not in render_answers_page(page_data())


def test_hostile_names_and_labels_stay_words() -> None:
    hostile = answer(f"q/{HOSTILE}.jpg", HOSTILE, true_label=HOSTILE)
    page = render_answers_page(replace(page_data(hostile, title=HOSTILE), notes=(HOSTILE,)))
    reader = Reader(page)
    assert len(reader.named("script")) == 2
    assert all("src" not in name and "onerror" not in name for name in reader.named("img"))
    assert not [attributes for _, attributes in reader.tags if "onclick" in attributes]
    assert reader.words.count(HOSTILE) >= 3


def test_the_policy_admits_this_style_and_this_script_only() -> None:
    page = render_answers_page(page_data())
    (policy,) = [
        meta["content"]
        for meta in Reader(page).named("meta")
        if meta.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    for name, rule in (("style", "style-src"), ("script", "script-src")):
        digest = b64encode(sha256(block(page, name).encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"
    assert not re.search(r" style=| on\w+=|https?://", page)


def test_the_same_page_data_makes_the_same_bytes_and_odd_file_names_do_no_harm(
    tmp_path: Path,
) -> None:
    odd = replace(page_data(), answers=(answer("q/\udcff.jpg", "anna"),))
    pages = [PageFile(tmp_path / name, render=render_answers_page) for name in ("a.html", "b.html")]
    first, second = (Path(*page.write(odd)).read_bytes() for page in pages)
    assert first == second
    assert b"q/\\udcff.jpg" in first


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="file"):
        PageFile(tmp_path / "file" / "page.html", render=render_answers_page).write(page_data())
    with pytest.raises(CheckpointError, match="cannot be written"):
        PageFile(tmp_path, render=render_answers_page).write(page_data())
