"""`reid report`: write a page with the results of runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reid.cli.options import JsonOption, ending_in, takes_settings
from reid.cli.render import to_json
from reid.container.checks import require_run
from reid.container.program import wired

if TYPE_CHECKING:
    from reid.settings.loading import ResolvedSettings

RunsArgument = Annotated[
    list[Path], typer.Argument(metavar="RUN...", help="Folders of runs; they need no weights.")
]
PageOption = Annotated[
    Path,
    typer.Option(
        "--page",
        metavar="FILE.md",
        callback=ending_in(".md"),
        help="Markdown file to write or replace.",
    ),
]
BaselineOption = Annotated[
    Path | None,
    typer.Option(
        "--baseline",
        metavar="RUN",
        help="Tabulate the runs that differ from this one in a few settings as an ablation.",
    ),
]
CollectOption = Annotated[
    bool,
    typer.Option(
        "--collect",
        help="Copy the runs' records, without weights and absolute paths, to the figures.",
    ),
]


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
    """Prepend the baseline, unless it is among the runs."""
    if baseline is None or baseline.resolve() in {run.resolve() for run in runs}:
        return runs
    return [baseline, *runs]
