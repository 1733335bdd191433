"""The page of an identification: each query with its ranked answers."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from reid.adapters.pages.documents import render
from reid.adapters.pages.files import write_page
from reid.domain.values.counts import counted
from reid.domain.values.page_data import AnswersPageData, Verdict, id_of
from reid.domain.values.reports import Identification

_WORDS = {
    Verdict.RIGHT: "right",
    Verdict.WRONG: "wrong",
    Verdict.UNKNOWN: "unknown",
    Verdict.UNJUDGED: "not judged",
}
_MORE_IMAGES = 8
"""Further images shown of a query that has several."""


class HtmlAnswersPage:
    """One HTML file with everything in it."""

    def __init__(self, path: Path) -> None:
        """Keep the page's name; nothing is touched yet."""
        self._path = path

    def write(self, page_data: AnswersPageData) -> str:
        """Replace the page."""
        write_page(self._path, render_answers_page(page_data))
        return str(self._path)


def render_answers_page(page_data: AnswersPageData) -> str:
    """Write the page's HTML."""
    notes = list(page_data.notes)
    if page_data.num_queries > len(page_data.answers):
        notes.append(
            f"This page shows the first {len(page_data.answers)} of {page_data.num_queries} "
            "queries; JSON and CSV hold them all"
        )
    counts = Counter(Verdict.of(answer) for answer in page_data.answers)
    verdicts = [("", "all", len(page_data.answers))]
    verdicts += [(one, _WORDS[one], counts[one]) for one in Verdict if counts[one]]
    return render(
        "answers.html",
        title=page_data.title,
        assets=["page.css", "strip.css", "answers.css", "images.js", "answers.js"],
        page_data=page_data,
        notes=notes,
        verdicts=verdicts,
        rows=map(_row, page_data.answers),
        id_of=id_of,
    )


def _row(answer: Identification) -> dict[str, object]:
    """Prepare the values of a row for the template."""
    verdict = Verdict.of(answer)
    names = (answer.name, *answer.names, answer.label, answer.true_label, answer.runner_up_label)
    camera = None if answer.camera is None else f"camera {answer.camera}"
    return {
        "answer": answer,
        "verdict": verdict,
        "words": _WORDS[verdict],
        "text": " ".join(filter(None, (*names, camera))),
        "facts": list(_facts(answer, camera)),
        "lines": list(_lines(answer)),
        "more": answer.names[1 : 1 + _MORE_IMAGES],
    }


def _facts(answer: Identification, camera: str | None) -> Iterator[str]:
    yield answer.name
    if camera is not None:
        yield camera
    if answer.true_label is not None:
        yield f"is {answer.true_label}"
    if len(answer.names) > 1:
        yield counted(len(answer.names), "image")


def _lines(answer: Identification) -> Iterator[str]:
    nearest = f", nearest {answer.label}" if answer.is_unknown else ""
    yield f"similarity {answer.similarity:.3f}{nearest}"
    if answer.confidence is not None:
        yield f"confidence {answer.confidence:.1%}"
    if answer.runner_up_label is not None and answer.runner_up_similarity is not None:
        yield f"then {answer.runner_up_label} {answer.runner_up_similarity:.3f}"
