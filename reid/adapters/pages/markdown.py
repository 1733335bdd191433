"""The results page in Markdown, its figures beside it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from reid.adapters.pages.charts import draw_curves
from reid.adapters.pages.files import write_page
from reid.domain.values.comparisons import NUM_RESAMPLES, SIGNIFICANCE, ScoreDifference
from reid.domain.values.evaluations import EvaluationRecord
from reid.domain.values.results import Ingredient, Ingredients, Results, RunPair, RunSummary

CURVES = "curves.svg"
TOLD_MEASURES = ("mAP", "Rank-1")
"""What differences are told of."""

_MANY_SEEDS = 6
"""The range of this many normal draws is 2.5 standard deviations on average, of two 1.1."""

_INTRODUCTION = """\
# Results

Written by {command} from the runs' own records; what is edited here is lost the next time.
Scores are percentages. Initialisation is what the image encoder's weights were before training:
results from random, ImageNet, CLIP and person-domain weights are different games."""


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
    sections = (
        _introduction(results.ingredients, place=place),
        _runs(results.runs),
        _scores(results.runs),
        _effects(results.ingredients),
        _differences(results),
        _yardsticks(results),
        _curves(results.runs, folder=folder),
    )
    return "\n\n".join(section for section in sections if section) + "\n"


def _introduction(ingredients: Ingredients | None, *, place: str) -> str:
    """Begin the page; with a baseline, by the command that finds all records beside the page."""
    command = "`reid report`"
    if ingredients is not None:
        folder = place.removesuffix(".md")
        baseline = f"{folder}/{ingredients.baseline}"
        command = f"`reid report {folder}/* --baseline {baseline} --page {place}`"
    return _INTRODUCTION.format(command=command)


def _runs(runs: Sequence[RunSummary]) -> str:
    headings = (
        "run", "recipe", "encoder", "initialisation", "trained on", "seed",
        "epochs (prompts + encoder)", "training time", "device",
    )  # fmt: skip
    rows = [
        (
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
        for run in runs
    ]
    changed = [
        f"- \\* {_cell(run.name)}: {', '.join(f'`{one}`' for one in run.departures)}"
        for run in runs
        if run.departures
    ]
    notes = "\n".join(["Other settings than the recipe's:", "", *changed]) if changed else ""
    return "\n\n".join(filter(None, ("## Runs", _table(headings, rows), notes)))


def _scores(runs: Sequence[RunSummary]) -> str:
    headings = (
        "run", "initialisation", "evaluated on", "queries / gallery", "protocol",
        "Rank-1", "Rank-5", "Rank-10", "mAP", "mINP",
    )  # fmt: skip
    rows = [
        (run.name, run.initialisation, *_score_cells(record))
        for run in runs
        for record in run.evaluations
    ]
    notes = [
        f"- {_cell(run.name)}: {', '.join(run.outdated)} left out, made with other weights than "
        "the run's own evaluation"
        for run in runs
        if run.outdated
    ]
    notes.extend(f"- {_cell(run.name)}: not evaluated" for run in runs if not run.evaluations)
    return "\n\n".join(
        filter(None, ("## Scores", _table(headings, rows) if rows else "", "\n".join(notes)))
    )


def _score_cells(record: EvaluationRecord) -> tuple[str, ...]:
    report = record.report
    return (
        record.dataset,
        f"{report.num_queries} / {report.num_gallery}",
        _protocol(record),
        *(_percent(report.rank(k)) for k in (1, 5, 10)),
        _percent(report.mean_average_precision),
        _percent(report.mean_inverse_negative_penalty),
    )


def _protocol(record: EvaluationRecord) -> str:
    """Say in words what is not Market-1501's protocol with an exact search."""
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
        kind = next(iter(set(record.peculiarities) - words.keys()), "approximate")
        words[kind] = f"approximate search, recall {record.report.index_recall:.1%}"
    return ", ".join(words.get(one, one) for one in record.peculiarities) or "standard"


def _effects(ingredients: Ingredients | None) -> str:
    if ingredients is None:
        return ""
    seeds = {measure: ingredients.scores_of_seeds(measure) for measure in TOLD_MEASURES}
    spreads = {measure: max(scores) - min(scores) for measure, scores in seeds.items()}
    headings = ["run", "changed from the baseline"]
    own = [ingredients.baseline, "nothing"]
    for measure, scores in seeds.items():
        headings += [measure, "difference", "95 % interval", "counts"]
        own += [_percent(scores[0]), "-", "-", "-"]
    rows = [
        own,
        *(_effect_cells(one, spreads) for one in ingredients.runs),
    ]
    method = (
        f"Each of these {len(ingredients.runs)} runs is {_cell(ingredients.baseline)} with other "
        f"values of the settings named, evaluated on {_cell(ingredients.evaluation)}; they appear "
        "in no other table. Differences to the baseline are in percentage points: 95 % interval "
        f"by a percentile bootstrap over queries ({NUM_RESAMPLES} resamples). One does not count "
        f"where p is {SIGNIFICANCE:g} or more by a paired two-sided sign-flip permutation test "
        "(not corrected for the number of runs), or where it is within the spread of seeds."
    )
    return "\n\n".join(
        ("## Effect of each ingredient", method, _noise(seeds), _table(headings, rows))
    )


def _noise(seeds: Mapping[str, Sequence[float]]) -> str:
    """Say how far equal settings come apart."""
    number = len(next(iter(seeds.values())))
    if number == 1:
        return (
            "**Noise between seeds: unknown.** The baseline was trained with one seed only, so a "
            "difference that counts over queries may still be another seed's luck."
        )
    ranges = [
        f"{measure} {_percent(min(scores))} to {_percent(max(scores))} "
        f"({_percent(max(scores) - min(scores))} apart)"
        for measure, scores in seeds.items()
    ]
    few = f" {number} seeds are few: more would lie further apart." if number < _MANY_SEEDS else ""
    return (
        f"**Noise between seeds:** trained with {number} seeds, the baseline comes to "
        f"{' and '.join(ranges)}. Differences within the spread of seeds say nothing, whatever "
        f"their interval over queries.{few}"
    )


def _effect_cells(one: Ingredient, spreads: Mapping[str, float]) -> tuple[str, ...]:
    changes = ", ".join(f"`{each.key}`: {each.before} -> {each.after}" for each in one.changes)
    cells = [one.run, changes]
    for measure, spread in spreads.items():
        found = one.difference_in(measure)
        counts = "yes" if abs(found.difference) > spread else "within the seeds"
        cells += [
            _percent(found.second),
            _points(found.difference),
            f"{_points(found.low)} .. {_points(found.high)}",
            counts if found.is_significant else "no",
        ]
    return tuple(cells)


def _differences(results: Results) -> str:
    if not results.pairs and not results.uncompared:
        return ""
    parts = ["## Which differences count"]
    if results.pairs:
        parts.extend(_judgement(results.pairs))
    if results.uncompared:
        parts.append(
            "Not compared, because older records do not say how each query fared: "
            f"{', '.join(map(_cell, results.uncompared))}."
        )
    return "\n\n".join(parts)


def _judgement(pairs: Sequence[RunPair]) -> Iterator[str]:
    rows = [
        (
            pair.first,
            pair.second,
            pair.evaluation,
            found.measure,
            _points(found.difference),
            f"{_points(found.low)} .. {_points(found.high)}",
            _p_value(found),
        )
        for pair in pairs
        for found in pair.differences
        if found.measure in TOLD_MEASURES and not found.is_significant
    ]
    yield (
        f"Runs evaluated on the same queries by the same protocol are compared two by two, in "
        f"{' and '.join(TOLD_MEASURES)}: 95 % interval by a percentile bootstrap over queries "
        f"({NUM_RESAMPLES} resamples), p by a paired two-sided sign-flip permutation test, not "
        f"corrected for the number of pairs ({len(pairs)}). It is the choice of queries that is "
        "judged; another training seed would add its own spread."
    )
    if not rows:
        yield f"Every pair differs significantly (p < {SIGNIFICANCE:g}) in both."
        return
    yield (
        f"**Not significant** (p of {SIGNIFICANCE:g} or more; second minus first, in percentage "
        "points):"
    )
    headings = ("first", "second", "evaluated on", "measure", "difference", "95 % interval", "p")
    yield _table(headings, rows)
    if len(rows) < len(pairs) * len(TOLD_MEASURES):
        yield f"All other differences between these pairs are significant (p < {SIGNIFICANCE:g})."


def _yardsticks(results: Results) -> str:
    rows = [
        (
            one.method,
            one.initialisation,
            f"{one.mean_average_precision:.1f}",
            f"{one.rank_1:.1f}",
            one.source,
        )
        for one in results.yardsticks
    ]
    table = _table(("method", "initialisation", "mAP", "Rank-1", "as reported by"), rows)
    return (
        "## Yardsticks on Market-1501\n\n"
        "As published, without re-ranking, not measured here. Comparable only with runs on the "
        "whole of Market-1501\n(3368 queries, 15913 gallery pictures without junk), standard "
        f"protocol, from the same kind of weights.\n\n{table}"
    )


def _curves(runs: Sequence[RunSummary], *, folder: str) -> str:
    figures = [
        f"### {_cell(run.name)}\n\n![Losses of {_cell(run.name)} over the epochs]"
        f"(<{folder}/{run.name}/{CURVES}>)"
        for run in runs
        if run.curves
    ]
    return "\n\n".join(["## Learning curves", *figures]) if figures else ""


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


def _p_value(found: ScoreDifference) -> str:
    return f"{found.p_value:.2f}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
