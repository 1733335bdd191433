"""`reid compare`: whether two runs differ by more than chance."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reid.cli.options import JsonOption, takes_settings
from reid.cli.render import table, to_json
from reid.container.checks import require_run
from reid.container.program import wired
from reid.domain.values.comparisons import SIGNIFICANCE

if TYPE_CHECKING:
    from reid.domain.values.comparisons import ComparisonOutcome, ScoreDifference
    from reid.settings.loading import ResolvedSettings

FirstArgument = Annotated[
    Path, typer.Argument(metavar="RUN_A", help="Folder of a run, or one evaluation*.json in it.")
]
SecondArgument = Annotated[
    Path, typer.Argument(metavar="RUN_B", help="Another run, or another evaluation.")
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
    typer.echo(to_json(outcome) if as_json else render_comparison(outcome))


def render_comparison(outcome: "ComparisonOutcome") -> str:
    """Tabulate the measures, then explain the table."""
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
