"""Reports as text and as JSON."""

import json
import shutil
import sys
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from reid.domain.values.counts import counted
from reid.domain.values.reports import EvaluationReport
from reid.domain.values.samples import SplitStatistics, UnreadableImage

if TYPE_CHECKING:
    from reid.application.check_dataset import DatasetCheckReport
    from reid.application.evaluate import Evaluation
    from reid.application.train import TrainingOutcome
    from reid.domain.values.encoders import EncoderDescription

_RULE = "-" * 40
_OBEYED = ("Cc", "Cs", "Zl", "Zp")
"""Unicode categories of control characters, lone surrogates and line ends."""


def render_dataset_table(statistics: Sequence[SplitStatistics]) -> str:
    """Tabulate splits in the customary form of the field."""
    rows = [
        (row.split, str(row.num_identities), str(row.num_images), str(row.num_cameras))
        for row in statistics
    ]
    headings = ("subset  ", "# ids", "# images", "# cameras")
    heading, *lines = table(headings, rows, numbers=headings[1:], between=" | ").splitlines()
    return "\n".join([_RULE, heading, _RULE, *lines, _RULE])


def table(
    headings: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    numbers: Collection[str] = (),
    between: str = "  ",
) -> str:
    """Lay out a table, each column as wide as its longest cell and `numbers` aligned right.

    Long cells are folded if the terminal is too narrow; piped output is never folded. Lines are
    joined here because rich takes 1.2 ms for each: 4 s for the queries of Market-1501.
    """
    from rich.cells import cell_len

    shown = [[harmless(cell) for cell in row] for row in (headings, *rows)]
    widths = [max(map(cell_len, column)) for column in zip(*shown, strict=True)]
    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    room = shutil.get_terminal_size().columns
    if is_terminal and sum(widths) + len(between) * (len(widths) - 1) > room:
        return _folded(shown, numbers=numbers, room=room)
    return "\n".join(
        between.join(
            " " * (width - cell_len(cell)) + cell
            if heading in numbers
            else cell + " " * (width - cell_len(cell))
            for heading, cell, width in zip(headings, row, widths, strict=True)
        ).rstrip()
        for row in shown
    )


def _folded(shown: Sequence[Sequence[str]], *, numbers: Collection[str], room: int) -> str:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    headings, *rows = shown
    laid_out = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in headings:
        laid_out.add_column(
            Text(heading), justify="right" if heading in numbers else "left", overflow="fold"
        )
    for row in rows:
        laid_out.add_row(*map(Text, row))
    console = Console(width=room, color_system=None)
    with console.capture() as captured:
        console.print(laid_out)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def harmless(text: str) -> str:
    """Escape control characters, which file names may contain and terminals obey."""
    if text.isprintable():
        return text
    return "".join(
        repr(letter)[1:-1] if unicodedata.category(letter) in _OBEYED else letter for letter in text
    )


def render_dataset_check(report: "DatasetCheckReport") -> str:
    """Tabulate the splits, then list the dataset's problems."""
    lines = [render_dataset_table(report.statistics), *report.problems]
    lines.extend(_reasons(report.unreadable))
    if not report.problems:
        lines.append("Every image can be read; nothing odd was found.")
    return "\n".join(lines)


def render_training(outcome: "TrainingOutcome", *, directory: Path) -> str:
    """List the scores of the trained encoder, and its folder."""
    lines = [] if outcome.evaluation is None else [render_evaluation(outcome.evaluation)]
    lines.extend(render_left_out(outcome.left_out, what="training image"))
    if outcome.evaluation is None:
        lines.append("Prompts learned; train the encoder with them by --stage encoder")
    lines.append(f"Run: {directory}")
    return "\n".join(lines)


def encoder_line(encoder: "EncoderDescription") -> str:
    """Name an encoder, its sizes and its weights, with a note if they are not pretrained."""
    facts = []
    match encoder.options.get("image_size"):
        case [height, width]:
            facts.append(f"{height}x{width}")
    facts.extend(
        f"{name.removeprefix('num_')} {encoder.options[name]}"
        for name in ("stride", "num_cameras")
        if encoder.options.get(name)
    )
    if encoder.num_identities is not None:
        facts.append(f"identities {encoder.num_identities}")
    sizes = f" ({', '.join(facts)})" if facts else ""
    origin = "" if encoder.is_pretrained else "; not pretrained"
    return f"Encoder: {encoder.name}{sizes}, weights: {encoder.weights}{origin}"


def warn_if_untrained(encoder: "EncoderDescription") -> None:
    """Warn on standard error, before answers or scores, if the weights are random."""
    if not encoder.is_trained:
        typer.echo(
            f"Warning: {encoder.name} has random weights that were never trained, so what follows "
            "is meaningless. Name a trained run (--run) or trained weights (--weights).",
            err=True,
        )


def render_evaluation(outcome: "Evaluation") -> str:
    """List the scores, the dataset and the encoder."""
    return "\n".join(
        [
            render_scores(outcome.report),
            f"Dataset: {outcome.dataset}",
            encoder_line(outcome.encoder),
            *([render_itself(outcome.queries_in_gallery)] if outcome.queries_in_gallery else []),
            *render_left_out(outcome.left_out, what="query or gallery image"),
        ]
    )


def render_itself(queries: Sequence[str]) -> str:
    """Warn of queries that are compared with themselves."""
    return (
        f"Warning: the very picture of {counted(len(queries), 'query image')} is in the gallery "
        f"too (the first is {harmless(queries[0])}): such a query finds itself, so the answers "
        "do not measure an encoder. Leave these pictures out of one side."
    )


def render_left_out(images: Sequence[UnreadableImage], *, what: str) -> list[str]:
    """List images that were left out because they cannot be read; `what` names one of them."""
    if not images:
        return []
    return [f"Left out: {counted(len(images), what)} that cannot be read", *_reasons(images)]


def render_unreadable(images: Sequence[UnreadableImage], *, what: str = "image") -> str:
    """Word the error of a command that left out unreadable images; `what` names one of them."""
    found = f"{counted(len(images), what)} cannot be read, so left out:"
    return "\n".join([found, *_reasons(images)])


def render_scores(report: EvaluationReport) -> str:
    """List the scores, then how they were computed."""
    shares = {
        "Test Results - Rank-1": report.rank(1),
        "Test Results - Rank-5": report.rank(5),
        "Test Results - mAP": report.mean_average_precision,
        "Rank-10": report.rank(10),
        "mINP": report.mean_inverse_negative_penalty,
    }
    scores = (f"{name}: {share:.2%}" for name, share in shares.items())
    return "\n".join([*scores, *evaluation_notes(report)])


def evaluation_notes(report: EvaluationReport) -> list[str]:
    """Describe how the scores were computed, a line each."""
    recall = f"the index finds {report.index_recall:.1%} of nearest neighbours"
    same_camera = "kept; not comparable with the Market-1501 protocol"
    if report.is_same_camera_removed:
        same_camera = "left out, as in the Market-1501 protocol"
    lines = [
        f"Queries: {report.num_valid_queries} of {report.num_queries} have a true match "
        f"among {counted(report.num_gallery, 'gallery image')}",
        f"Search: {'exact' if report.is_exact else f'approximate, scores too; {recall}'}",
        f"Same camera: {same_camera}",
    ]
    if (recipe := report.reranking) is not None:
        weight = f"{recipe.original_weight:g}"
        lines.append(f"Re-ranking: k1={recipe.k1}, k2={recipe.k2}, lambda={weight}")
    return lines


def toml_value(value: object) -> str:
    """Write a value as in TOML; an unset one as `"none"`."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name} = {toml_value(one)}" for name, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml_value(entry) for entry in value) + "]"
    return json.dumps("none" if value is None else value)


def to_json(report: object) -> str:
    """Write a report as JSON; dataclasses become objects, enumerations and paths strings."""
    return json.dumps(report, indent=2, default=_plain)


def _reasons(images: Sequence[UnreadableImage]) -> list[str]:
    return [f"  {image.name}: {image.reason}" for image in images]


def _plain(value: object) -> Any:  # noqa: ANN401  (whatever JSON can hold)
    if isinstance(value, Path):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
