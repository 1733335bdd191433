"""`reid doctor`: is this installation sound? What a bug report needs."""

from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated

import typer

from reid.cli.errors import EXIT_UNSOUND
from reid.cli.mentions import in_options
from reid.cli.options import DATASET_OPTIONS, JsonOption, takes_settings
from reid.cli.render import to_json
from reid.domain.values.counts import counted

if TYPE_CHECKING:
    from reid.application.diagnose import CheckOutcome, Diagnosis
    from reid.settings.loading import ResolvedSettings

PathsOption = Annotated[
    bool,
    typer.Option("--paths", help="Show paths, and names of user and machine, which are left out."),
]


@takes_settings(*DATASET_OPTIONS)
def doctor(
    resolved: "ResolvedSettings", *, paths: PathsOption = False, as_json: JsonOption = False
) -> None:
    """Check this installation in seconds.

    The output is what a bug report needs.
    """
    diagnosis = _diagnose(resolved, shows_paths=paths)
    typer.echo(to_json(diagnosis) if as_json else in_options(render_diagnosis(diagnosis)))
    if not diagnosis.is_sound:
        failed = ", ".join(outcome.name for outcome in diagnosis.failures)
        typer.echo(f"Error: {counted(len(diagnosis.failures), 'check')} failed: {failed}", err=True)
        raise typer.Exit(EXIT_UNSOUND)


def _diagnose(resolved: "ResolvedSettings", *, shows_paths: bool) -> "Diagnosis":
    from reid.importing import paused_collection
    from reid.settings.disclosure import told_settings

    try:
        with paused_collection():
            from reid.container import Container
    except (ImportError, OSError) as error:
        from reid.bare_doctor import diagnose_import

        return diagnose_import(error, shows_paths=shows_paths)()
    told = told_settings(resolved, shows_paths=shows_paths)
    container = Container(settings=resolved.settings)
    diagnosis: Diagnosis = container.diagnose(told=told, shows_paths=shows_paths)()
    return diagnosis


def render_diagnosis(diagnosis: "Diagnosis") -> str:
    """List the facts by subject, then what came of each check and what to do where it failed."""
    lines = [f"reid {version('clip-reid')}"]
    for subject, found in diagnosis.facts.items():
        lines.append(f"{subject}:")
        lines.extend(f"  {line}" for line in _fact_lines(found))
    width = max((len(outcome.name) for outcome in diagnosis.checks), default=0)
    lines.append("checks:")
    for outcome in diagnosis.checks:
        lines.extend(_outcome_lines(outcome, width=width))
    return "\n".join(lines)


def _fact_lines(found: object) -> list[str]:
    match found:
        case Mapping():
            return [f"{name}: {_in_words(value)}" for name, value in found.items()] or ["none"]
        case list():
            return [str(entry) for entry in found] or ["none"]
        case _:
            return [_in_words(found)]


def _in_words(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def _outcome_lines(outcome: "CheckOutcome", *, width: int) -> list[str]:
    verdict = "ok    " if outcome.is_passed else "FAILED"
    line = f"  {verdict} {outcome.name:<{width}}  {outcome.finding} ({outcome.seconds:.1f} s)"
    return [line] if outcome.advice is None else [line, f"         to do: {outcome.advice}"]
