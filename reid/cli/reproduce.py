"""`reid reproduce`: repeat a recorded evaluation."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reid.cli.options import JsonOption, takes_settings
from reid.cli.render import table, to_json
from reid.container.checks import require_run
from reid.container.program import wired
from reid.domain.errors import EvaluationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from reid.application.records import RecordedEvaluation
    from reid.application.reproduce import Change, ReproductionOutcome
    from reid.settings.loading import ResolvedSettings
    from reid.settings.schema import Settings

RunArgument = Annotated[
    Path, typer.Argument(metavar="RUN", help="Folder of a run, or one evaluation*.json in it.")
]
ToleranceOption = Annotated[
    float,
    typer.Option(
        "--tolerance",
        metavar="X",
        min=0.0,
        help="Largest difference of a mean score (0 to 1) that counts as reproduced.",
    ),
]


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
