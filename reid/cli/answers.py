"""Answers of `identify` and `demo`, as a table, CSV or JSON."""

import csv
from collections.abc import Iterator
from dataclasses import asdict
from io import StringIO
from typing import TYPE_CHECKING

from reid.cli.render import encoder_line, render_itself, table, to_json
from reid.domain.values.counts import counted

if TYPE_CHECKING:
    from reid.application.demo import DemoOutcome, ShippedOutcome
    from reid.application.identify import IdentificationOutcome
    from reid.domain.values.reports import Identification
    from reid.settings.schema import Settings

_HEADINGS: tuple[str, ...] = (
    *("query", "label", "similarity", "confidence"),
    *("runner-up", "similarity", "nearest images"),
)
_CONFIDENCE = _HEADINGS.index("confidence")
_CSV_FIELDS = (
    *("name", "label", "similarity", "runner_up_label", "runner_up_similarity"),
    *("true_label", "is_unknown", "confidence"),
)


def render_answers(outcome: "IdentificationOutcome") -> str:
    """Tabulate one line per query, then describe how the answers were made."""
    rows = [_HEADINGS, *(_row(answer) for answer in outcome.identifications)]
    if all(answer.confidence is None for answer in outcome.identifications):
        rows = [(*row[:_CONFIDENCE], *row[_CONFIDENCE + 1 :]) for row in rows]
    return "\n".join([table(rows[0], rows[1:]), "", *answer_notes(outcome)])


def answers_as_csv(outcome: "IdentificationOutcome") -> str:
    """Write one record per query, with two columns for each of the top-k images."""
    depth = max(len(answer.images) for answer in outcome.identifications)
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    ranked = [(f"image_{k}", f"similarity_{k}") for k in range(1, depth + 1)]
    writer.writerow(["query", *_CSV_FIELDS[1:], *(name for pair in ranked for name in pair)])
    for answer in outcome.identifications:
        found = (value for image in answer.images for value in (image.name, image.similarity))
        writer.writerow([*(getattr(answer, field) for field in _CSV_FIELDS), *found])
    return text.getvalue().rstrip("\n")


def answers_as_json(outcome: "IdentificationOutcome") -> str:
    """Write the whole outcome and its accuracy."""
    return to_json(asdict(outcome) | {"accuracy": outcome.accuracy})


def render_demo(outcome: "DemoOutcome", *, settings: "Settings") -> str:
    """Show the scores before and after training side by side, then the answers."""
    before, after = outcome.untrained.report.measures, outcome.trained.report.measures
    directory = settings.run.directory
    return "\n".join(
        [
            table(
                ("", "untrained", "trained"),
                [
                    (name, f"{before[name]:.2%}", f"{after[name]:.2%}")
                    for name in ("Rank-1", "Rank-5", "mAP")
                ],
                numbers=("untrained", "trained"),
            ),
            encoder_line(outcome.trained.encoder),
            "",
            render_answers(outcome.identification),
            "",
            f"Images:   {settings.dataset.root}",
            f"Run:      {directory} (settings, metrics, scores and the trained encoder)",
            f"Again:    reid evaluate --run {directory} --data {settings.dataset.root}",
        ]
    )


def render_shipped(outcome: "ShippedOutcome | None") -> str:
    """Show how the encoder that comes with the program does on the same people."""
    if outcome is None:
        return "\nSecond part left out: no encoder comes with this program"
    measures = outcome.evaluation.report.measures
    scores = ", ".join(f"{name} {measures[name]:.2%}" for name in ("Rank-1", "Rank-5", "mAP"))
    return "\n".join(
        [
            "",
            "Second part: the encoder that comes with the program, not trained on these people",
            f"{scores} (drawn people say nothing of real ones)",
            "",
            render_answers(outcome.identification),
        ]
    )


def _row(answer: "Identification") -> tuple[str, ...]:
    return (
        answer.name + (f" +{len(answer.names) - 1}" if answer.names else ""),
        f"unknown ({answer.label}?)" if answer.is_unknown else answer.label or "-",
        "-" if answer.similarity is None else f"{answer.similarity:.3f}",
        "-" if answer.confidence is None else f"{answer.confidence:.1%}",
        answer.runner_up_label or "-",
        "-" if answer.runner_up_similarity is None else f"{answer.runner_up_similarity:.3f}",
        ", ".join(f"{image.name} {image.similarity:.3f}" for image in answer.images),
    )


def answer_notes(outcome: "IdentificationOutcome", *, names_place: bool = True) -> Iterator[str]:
    """Describe how the answers were made, a sentence each.

    A page that others may read leaves out the place of the gallery (`names_place=False`).
    """
    queries = counted(len(outcome.identifications), "query")
    yield f"{queries} against {counted(outcome.num_gallery, 'gallery image')}"
    if names_place:
        embedded = ""
        if (changes := outcome.changes) is not None:
            listed = counted(changes.num_listed, "image")
            embedded = f", {changes.num_embedded} of {listed} embedded now"
        yield f"Gallery: {outcome.gallery}{embedded}"
    yield encoder_line(outcome.encoder)
    if outcome.model is not None:
        yield f"Model: {outcome.model.words}"
    if outcome.encoder.options.get("num_cameras") and not outcome.are_cameras_used:
        yield "Cameras: left out, since not every image has one that the encoder knows"
    yield from _manner_notes(outcome)
    if outcome.threshold is not None:
        num_unknown = sum(bool(answer.is_unknown) for answer in outcome.identifications)
        yield f"Unknown: {num_unknown} of {queries}, below a similarity of {outcome.threshold:.3f}"
    else:
        yield (
            "Unknown: no threshold is set, so everybody gets a name; reid calibrate finds one, or "
            "set identify.unknown"
        )
    if outcome.queries_in_gallery:
        yield render_itself(outcome.queries_in_gallery)
    if outcome.accuracy is not None:
        yield (
            f"Accuracy: {outcome.accuracy:.2%} ({outcome.num_correct} of "
            f"{counted(outcome.num_judged, 'query')} whose label is known and in the "
            "gallery); the query's own camera counts, so this is not the protocol's Rank-1"
        )


def _manner_notes(outcome: "IdentificationOutcome") -> Iterator[str]:
    """Describe how images were compared where that differs from the default."""
    if not outcome.is_exact:
        yield (
            "Search: approximate, answers too; the index finds "
            f"{outcome.index_recall:.1%} of nearest neighbours"
        )
    if outcome.looked_at:
        yield f"Looked at: images {outcome.looked_at}"
    if outcome.fusion != "best":
        yield f"Fusion: {outcome.fusion}"
    if outcome.is_reranked:
        yield "Re-ranked: answers are in the order of re-ranked distances; similarities are cosines"
