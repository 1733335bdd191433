"""The page of an identification: each query beside its ranked answers."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from reid.adapters.pages.documents import PictureStore, document
from reid.adapters.pages.files import write_page
from reid.adapters.pages.markup import Markup, joined, tag
from reid.adapters.pages.strips import SIGNS, ranked_picture
from reid.domain.values.counts import counted
from reid.domain.values.reports import Identification
from reid.domain.values.sheets import AnswerSheet, Verdict, id_of

_WORDS = {
    Verdict.RIGHT: "right",
    Verdict.WRONG: "wrong",
    Verdict.UNKNOWN: "unknown",
    Verdict.UNJUDGED: "not judged",
}
_ORDERS = {
    "asked": "as asked",
    "unsurest": "least similar first",
    "surest": "most similar first",
    "label": "by label",
    "name": "by file name",
}
_KEYS = (
    ("j  k", "next, previous answer (or the arrows)"),
    ("Home  End", "first, last answer"),
    ("/", "search; Esc clears it"),
    ("a  r  w  u", "all, right, wrong, unknown"),
    ("?", "this help"),
)
_MORE_PICTURES = 8
"""Further pictures shown of a query that has several."""


class HtmlAnswersPage:
    """One HTML file with everything in it."""

    def __init__(self, path: Path) -> None:
        """Keep the page's name; nothing is touched yet."""
        self._path = path

    def write(self, sheet: AnswerSheet) -> str:
        """Replace the page."""
        write_page(self._path, render_answers_page(sheet))
        return str(self._path)


def render_answers_page(sheet: AnswerSheet) -> str:
    """Write the page's HTML."""
    pictures = PictureStore()
    rows = [
        _row(answer, number=number, sheet=sheet, pictures=pictures)
        for number, answer in enumerate(sheet.answers, start=1)
    ]
    return document(
        title=sheet.title,
        body=[
            _heading(sheet),
            _bar(sheet),
            tag(
                "main",
                tag("ol", *rows, id="answers"),
                tag("p", "No answer fits.", id="none", class_="none", hidden=True),
            ),
            _footer(),
            _help(),
        ],
        assets=["page.css", "strip.css", "answers.css", "pictures.js", "answers.js"],
        pictures=pictures,
    )


def _heading(sheet: AnswerSheet) -> Markup:
    notes = list(sheet.notes)
    num_left_out = sheet.num_queries - len(sheet.answers)
    if num_left_out:
        notes.append(
            f"This page shows the first {len(sheet.answers)} of {sheet.num_queries} queries; "
            "--json and --csv hold them all"
        )
    script = tag("noscript", tag("p", "Pictures, filters and keys need JavaScript."))
    listed = tag("ul", *(tag("li", note) for note in notes), class_="notes")
    return tag("header", tag("h1", sheet.title), listed, script, class_="top")


def _bar(sheet: AnswerSheet) -> Markup:
    counts = Counter(Verdict.of(answer) for answer in sheet.answers)
    buttons = [_button("", "all", len(sheet.answers), is_pressed=True)]
    buttons += [
        _button(verdict, _WORDS[verdict], counts[verdict]) for verdict in Verdict if counts[verdict]
    ]
    options = [tag("option", words, value=value) for value, words in _ORDERS.items()]
    return tag(
        "div",
        tag(
            "input",
            id="search",
            type="search",
            placeholder="Search names, labels, cameras",
            aria_label="Search",
            autocomplete="off",
            spellcheck="false",
        ),
        tag("div", *buttons, class_="verdicts", role="group", aria_label="Show"),
        tag("label", "Order ", tag("select", *options, id="order")),
        tag("output", "", id="shown", aria_live="polite"),
        tag("button", "?", id="ask", type="button", aria_label="Keys", title="Keys (?)"),
        class_="bar",
        role="toolbar",
        aria_label="Filter and order",
    )


def _button(verdict: str, words: str, count: int, *, is_pressed: bool = False) -> Markup:
    return tag(
        "button",
        f"{words} ",
        tag("b", str(count)),
        type="button",
        class_=verdict or None,
        data_verdict=verdict,
        aria_pressed=str(is_pressed).lower(),
    )


def _row(
    answer: Identification, *, number: int, sheet: AnswerSheet, pictures: PictureStore
) -> Markup:
    verdict = Verdict.of(answer)
    query = _query(answer, sheet=sheet, pictures=pictures)
    strip = [
        tag(
            "li",
            ranked_picture(
                picture,
                thumbnail=sheet.gallery_thumbnails.get(id_of(picture)),
                true_label=answer.true_label,
                pictures=pictures,
            ),
        )
        for picture in answer.pictures
    ]
    return tag(
        "li",
        query,
        tag("div", *_said(answer, verdict), class_="said"),
        tag("ol", *strip, class_="strip", aria_label="Nearest gallery pictures"),
        class_=f"answer {verdict}",
        tabindex=-1,
        data_number=number,
        data_verdict=verdict,
        data_label=answer.label,
        data_name=answer.image,
        data_similarity=f"{answer.similarity:.6f}",
        data_text=_searched(answer),
    )


def _searched(answer: Identification) -> str:
    words = [answer.image, *answer.images, answer.label, answer.true_label, answer.runner_up_label]
    if answer.camera is not None:
        words.append(f"camera {answer.camera}")
    return " ".join(word for word in words if word)


def _query(answer: Identification, *, sheet: AnswerSheet, pictures: PictureStore) -> Markup:
    def show(image: str) -> Markup:
        return pictures.image(sheet.query_thumbnails.get(image), alt=f"Query picture {image}")

    facts = [answer.image]
    if answer.camera is not None:
        facts.append(f"camera {answer.camera}")
    if answer.true_label is not None:
        facts.append(f"is {answer.true_label}")
    more = answer.images[1 : 1 + _MORE_PICTURES]
    if len(answer.images) > 1:
        facts.append(counted(len(answer.images), "picture"))
    lines = [tag("div", fact) for fact in facts]
    rest = [tag("div", *map(show, more), class_="more")] if more else []
    return tag("figure", show(answer.image), tag("figcaption", *lines), *rest, class_="query")


def _said(answer: Identification, verdict: Verdict) -> Iterator[Markup]:
    signs = joined([SIGNS[verdict], _WORDS[verdict]])
    yield tag("span", signs, class_="verdict")
    yield tag("h2", "nobody known" if answer.is_unknown else answer.label)
    yield tag(
        "meter",
        f"{answer.similarity:.3f}",
        min=0,
        max=1,
        value=f"{max(0.0, answer.similarity):.3f}",
        aria_label="Similarity",
    )
    nearest = f", nearest {answer.label}" if answer.is_unknown else ""
    yield tag("p", f"similarity {answer.similarity:.3f}{nearest}")
    if answer.confidence is not None:
        yield tag("p", f"confidence {answer.confidence:.1%}")
    if answer.runner_up_label is not None and answer.runner_up_similarity is not None:
        yield tag("p", f"then {answer.runner_up_label} {answer.runner_up_similarity:.3f}")


def _footer() -> Markup:
    return tag(
        "footer",
        "Written by reid identify. Similarity is a cosine; what it means depends on the encoder. "
        "This file holds pictures of people: keep and pass it on as you would the pictures.",
    )


def _help() -> Markup:
    lines = [
        part
        for keys, words in _KEYS
        for part in (
            tag("dt", *(joined([tag("kbd", key), " "]) for key in keys.split())),
            tag("dd", words),
        )
    ]
    close = tag("button", "Close", id="close", type="button")
    return tag("dialog", tag("h2", "Keys"), tag("dl", *lines), close, id="help", aria_label="Keys")
