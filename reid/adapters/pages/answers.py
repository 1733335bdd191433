"""The page of an identification: each query with its ranked answers."""

from collections import Counter

from reid.adapters.pages.documents import render
from reid.domain.values.page_data import AnswersPageData, Verdict, id_of

_MORE_IMAGES = 8  # further images shown of a query that has several


def render_answers_page(page_data: AnswersPageData) -> str:
    """Write the page's HTML."""
    verdicts = [Verdict.of(answer) for answer in page_data.answers]
    return render(
        "answers.html",
        title=page_data.title,
        assets=["page.css", "strip.css", "answers.css", "images.js", "answers.js"],
        page_data=page_data,
        answers=list(zip(page_data.answers, verdicts, strict=True)),
        counts=Counter(verdicts),
        verdicts=Verdict,
        id_of=id_of,
        max_more=_MORE_IMAGES,
    )
