"""`reid compare`, `reid reproduce` and `reid report`: commands on the records of runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reid.cli.options import JsonOption, argument, option, output_file, takes_settings
from reid.cli.render import table, to_json
from reid.container.checks import require_run
from reid.container.program import wired
from reid.domain.errors import EvaluationError
from reid.domain.values.evaluations import SIGNIFICANCE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from reid.application.records import RecordedEvaluation
    from reid.application.reproduce import Change, ReproductionOutcome
    from reid.domain.values.evaluations import ComparisonOutcome, ScoreDifference
    from reid.settings.loading import ResolvedSettings
    from reid.settings.schema import Settings

_RUN_HELP = "Folder of a run, or one evaluation*.json in it."
FirstArgument = Annotated[Path, argument("RUN_A", _RUN_HELP)]
SecondArgument = Annotated[Path, argument("RUN_B", "Another run, or another evaluation.")]
RunArgument = Annotated[Path, argument("RUN", _RUN_HELP)]
ToleranceOption = Annotated[
    float,
    option(
        "--tolerance X",
        "Largest difference of a mean score (0 to 1) that counts as reproduced.",
        min=0.0,
    ),
]
RunsArgument = Annotated[list[Path], argument("RUN...", "Folders of runs; they need no weights.")]
PageOption = Annotated[
    Path, output_file("--page FILE.md", "Markdown file to write or replace.", ".md")
]
BaselineOption = Annotated[
    Path | None,
    option(
        "--baseline RUN",
        "Tabulate the runs that differ from this one in a few settings as an ablation.",
    ),
]
CollectOption = Annotated[
    bool,
    option(
        "--collect", "Copy the runs' records, without weights and absolute paths, to the figures."
    ),
]


@takes_settings("seed")
def compare(
    resolved: "ResolvedSettings",
    *,
    first: FirstArgument,
    second: SecondArgument,
    as_json: JsonOption = False,
) -> None:
    """Compare two recorded evaluations of the same queries.

    Bootstrap intervals and a paired test show which differences are significant.
    """
    require_run(first, second)
    with wired(resolved.settings) as container:
        open_evaluation = container.open_evaluation()
        outcome = container.compare(open_evaluation(first), open_evaluation(second))
    typer.echo(to_json(outcome) if as_json else _comparison(outcome))


def _comparison(outcome: "ComparisonOutcome") -> str:
    return "\n".join(
        [
            f"A: {outcome.first.run} ({outcome.first.evaluation})",
            f"B: {outcome.second.run} ({outcome.second.evaluation})",
            f"{outcome.num_queries} queries of {outcome.dataset}",
            table(
                ("measure", "A", "B", "B - A", f"{outcome.confidence:.0%} interval", "p"),
                map(_row, outcome.differences),
                numbers=("A", "B", "B - A"),
                between=" | ",
            ),
            f"Interval: percentile bootstrap over queries, {outcome.num_resamples} resamples, "
            f"seed {outcome.seed}; in percentage points",
            f"p: {outcome.test}; not significant: {SIGNIFICANCE:g} or more",
        ]
    )


def _row(found: "ScoreDifference") -> tuple[str, ...]:
    difference, low, high = (100 * share for share in (found.difference, found.low, found.high))
    verdict = "" if found.is_significant else "  not significant"
    return (
        found.measure,
        f"{found.first:.2%}",
        f"{found.second:.2%}",
        f"{difference:+.2f}",
        f"{low:>+6.2f} .. {high:>+6.2f}",
        f"{found.p_value:.4f}{verdict}",
    )


@takes_settings("dataset.root", "device")
def reproduce(
    resolved: "ResolvedSettings",
    *,
    run: RunArgument,
    tolerance: ToleranceOption = 0.0,
    as_json: JsonOption = False,
) -> None:
    """Repeat a recorded evaluation of a run, and list the differences."""
    require_run(run)
    with wired(resolved.settings) as container:
        source = container.open_evaluation()(run)
    settings = _settings_of(source, run=run, resolved=resolved)
    with wired(settings, num_cameras=0) as container:
        outcome = container.reproduce(source, tolerance=tolerance)
    typer.echo(to_json(outcome) if as_json else "\n".join(_lines(outcome)))
    if not outcome.is_reproduced:
        hint = (
            "; --tolerance 1e-3 allows for another machine's rounding"
            if outcome.is_rounding
            else ""
        )
        raise EvaluationError(
            f"{outcome.evaluation} of {outcome.run} is not reproduced; what differs: "
            f"{', '.join(outcome.differing)}{hint}"
        )


def _settings_of(
    source: "RecordedEvaluation", *, run: Path, resolved: "ResolvedSettings"
) -> "Settings":
    from reid.application.reproduce import recorded_settings
    from reid.settings.recorded import root_of_record, settings_of_record

    record, trained_with = recorded_settings(source)
    root = root_of_record(
        resolved.settings.dataset.root, evaluation=record.name, trained_with=trained_with
    )
    return settings_of_record(
        record.settings or {},
        directory=run.parent if run.suffix == ".json" else run,
        root=root,
        device=resolved.settings.device,
    )


def _lines(outcome: "ReproductionOutcome") -> "Iterator[str]":
    yield f"{outcome.evaluation} of {outcome.run}, on {outcome.dataset}"
    yield table(
        ("measure", "recorded", "again", "difference"),
        [
            (
                pair.measure,
                f"{pair.recorded:.2%}",
                f"{pair.now:.2%}",
                "none" if pair.recorded == pair.now else f"{pair.now - pair.recorded:+.1e}",
            )
            for pair in outcome.scores
        ],
        numbers=("recorded", "again"),
        between=" | ",
    )
    yield (
        f"Queries with another average precision: {outcome.num_changed_queries} of "
        f"{outcome.num_queries}"
    )
    yield from _listed("Data, weights and settings", outcome.causes)
    yield from _listed("Versions and machine", outcome.environment)


def _listed(what: str, changes: "Sequence[Change]") -> "Iterator[str]":
    yield f"{what}: " + ("they differ" if changes else "as recorded")
    for change in changes:
        yield f"  {change.part}: {change.recorded} then, {change.now} now"


@takes_settings("seed")
def report(
    resolved: "ResolvedSettings",
    *,
    runs: RunsArgument,
    path: PageOption = Path("docs/results.md"),
    baseline: BaselineOption = None,
    collect: CollectOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write a page with the scores and learning curves of runs.

    Published results are listed for comparison.
    """
    require_run(*_with_baseline(runs, baseline))
    with wired(resolved.settings) as container:
        page = container.page(path)
        records = [container.open_records()(run) for run in _with_baseline(runs, baseline)]
        name = None if baseline is None else container.open_records()(baseline).name
        outcome = container.report(page=page).run(records, baseline=name)
        if collect:
            for run in records:
                container.collect_records()(run, page.folder_of(run.name))
    listed = [f"Wrote {outcome.page}", *(f"Wrote {figure}" for figure in outcome.figures)]
    typer.echo(to_json(outcome) if as_json else "\n".join(listed))


def _with_baseline(runs: list[Path], baseline: Path | None) -> list[Path]:
    if baseline is None or baseline.resolve() in {run.resolve() for run in runs}:
        return runs
    return [baseline, *runs]
