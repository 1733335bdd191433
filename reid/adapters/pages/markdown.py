"""The results page in Markdown, its figures beside it."""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from reid.adapters.pages.charts import draw_curves
from reid.adapters.pages.documents import render_text
from reid.adapters.pages.files import write_page
from reid.domain.values.comparisons import NUM_RESAMPLES, SIGNIFICANCE, ScoreDifference
from reid.domain.values.evaluations import EvaluationRecord
from reid.domain.values.results import Ablation, Results, RunSummary

CURVES = "curves.svg"
TOLD_MEASURES = ("mAP", "Rank-1")
"""Measures in which runs are compared."""

_SCORES = ("Rank-1", "Rank-5", "Rank-10", "mAP", "mINP")
_MANY_SEEDS = 6
"""The range of this many normal draws is 2.5 standard deviations on average, of two 1.1."""


class MarkdownPage:
    """A Markdown file, and a folder of its name that holds a folder for each run."""

    def __init__(self, path: Path) -> None:
        """Keep the page's name; nothing is touched yet."""
        self._path = path

    def write(self, results: Results) -> tuple[str, ...]:
        """Replace page and figures."""
        figures = []
        for run in results.runs:
            if run.curves:
                figure = self.folder_of(run.name) / CURVES
                write_page(figure, draw_curves(run.curves))
                figures.append(figure)
        place = self._path.name if self._path.is_absolute() else self._path.as_posix()
        text = render_page(results, folder=self._path.stem, place=place)
        write_page(self._path, text)
        return tuple(str(path) for path in (self._path, *figures))

    def folder_of(self, run: str) -> Path:
        """Name the folder of a run's figure and records."""
        return self._path.with_suffix("") / run


def render_page(results: Results, *, folder: str, place: str = "docs/results.md") -> str:
    """Write the page's text.

    Args:
        results: What it says.
        folder: Name of the folder beside the page where the figures lie.
        place: Of the page, for the command that makes it again.
    """
    written = render_text(
        "results.md",
        results=results,
        command=_command(results.ablation, place=place),
        table=_table,
        cell=_cell,
        run_rows=map(_run_cells, results.runs),
        departures=[run for run in results.runs if run.departures],
        score_rows=list(_score_rows(results.runs)),
        ablation=results.ablation,
        **(_effects(results.ablation) if results.ablation else {}),
        pair_rows=list(_pair_rows(results)),
        baseline_rows=[
            (
                one.method,
                one.initialisation,
                f"{one.mean_average_precision:.1f}",
                f"{one.rank_1:.1f}",
                one.source,
            )
            for one in results.published_baselines
        ],
        measures=TOLD_MEASURES,
        num_resamples=NUM_RESAMPLES,
        significance=f"{SIGNIFICANCE:g}",
        folder=folder,
        curves=CURVES,
    )
    # What is left out leaves empty lines.
    return re.sub(r"\n{3,}", "\n\n", written).rstrip() + "\n"


def _command(ablation: Ablation | None, *, place: str) -> str:
    """Name the command that finds all records beside the page, where there is a baseline."""
    if ablation is None:
        return "`reid report`"
    folder = place.removesuffix(".md")
    return f"`reid report {folder}/* --baseline {folder}/{ablation.baseline} --page {place}`"


def _run_cells(run: RunSummary) -> tuple[str, ...]:
    return (
        run.name,
        run.recipe + (" *" if run.departures else ""),
        run.encoder,
        run.initialisation,
        run.trained_on,
        _or_dash(run.seed),
        f"{_or_dash(run.num_epochs('prompts'))} + {_or_dash(run.num_epochs('encoder'))}",
        _duration(run.training_seconds),
        run.device,
    )


def _score_rows(runs: Sequence[RunSummary]) -> Iterator[tuple[str, ...]]:
    for run in runs:
        for record in run.evaluations:
            report = record.report
            yield (
                run.name,
                run.initialisation,
                record.dataset,
                f"{report.num_queries} / {report.num_gallery}",
                _protocol(record),
                *(_percent(report.measures[name]) for name in _SCORES),
            )


def _protocol(record: EvaluationRecord) -> str:
    """Describe what differs from Market-1501's protocol with an exact search."""
    reranking = record.report.reranking
    words = {
        "same-camera": "same camera kept (not comparable)",
        "no-cameras": "camera embeddings unused",
    }
    if reranking is not None:
        words["reranked"] = (
            f"re-ranked (k1={reranking.k1}, k2={reranking.k2}, "
            f"lambda={reranking.original_weight:g})"
        )
    if not record.report.is_exact:
        kind = next(iter(set(record.variant) - words.keys()), "approximate")
        words[kind] = f"approximate search, recall {record.report.index_recall:.1%}"
    return ", ".join(words.get(one, one) for one in record.variant) or "standard"


def _effects(ablation: Ablation) -> dict[str, object]:
    seeds = {measure: ablation.scores_of_seeds(measure) for measure in TOLD_MEASURES}
    spreads = {measure: max(scores) - min(scores) for measure, scores in seeds.items()}
    own = [ablation.baseline, "nothing"]
    for scores in seeds.values():
        own += [_percent(scores[0]), "-", "-", "-"]
    rows = [own]
    for one in ablation.runs:
        changes = (f"`{each.key}`: {each.before} -> {each.after}" for each in one.changes)
        row = [one.run, ", ".join(changes)]
        for measure, spread in spreads.items():
            found = one.difference_in(measure)
            counts = "yes" if abs(found.difference) > spread else "within the seeds"
            row += [_percent(found.second), *_interval(found)]
            row.append(counts if found.is_significant else "no")
        rows.append(row)
    columns = [(measure, "difference", "95 % interval", "counts") for measure in TOLD_MEASURES]
    return {
        "effect_headings": ("run", "changed from the baseline", *sum(columns, ())),
        "effect_rows": rows,
        "num_seeds": len(next(iter(seeds.values()))),
        "many_seeds": _MANY_SEEDS,
        "ranges": [
            f"{measure} {_percent(min(scores))} to {_percent(max(scores))} "
            f"({_percent(spreads[measure])} apart)"
            for measure, scores in seeds.items()
        ],
    }


def _pair_rows(results: Results) -> Iterator[tuple[str, ...]]:
    """List the differences that may be chance."""
    for pair in results.pairs:
        for found in pair.differences:
            if found.measure in TOLD_MEASURES and not found.is_significant:
                names = (pair.first, pair.second, pair.evaluation, found.measure)
                yield (*names, *_interval(found), f"{found.p_value:.2f}")


def _interval(found: ScoreDifference) -> tuple[str, str]:
    ends = f"{_points(found.low)} .. {_points(found.high)}"
    return _points(found.difference), ends


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _or_dash(value: object) -> str:
    return "-" if value is None else str(value)


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"


def _points(share: float) -> str:
    # + 0.0: no minus before a difference that rounds to nothing
    return f"{round(100 * share, 2) + 0.0:+.2f}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
