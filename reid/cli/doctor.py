"""`reid doctor` checks the installation, `reid settings` lists what is set and where."""

from collections.abc import Iterator
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated

import typer

from reid.cli.errors import EXIT_UNSOUND
from reid.cli.mentions import in_options
from reid.cli.options import DATASET_OPTIONS, JsonOption, option, takes_settings
from reid.cli.render import table, to_json, toml_value
from reid.domain.values.counts import counted

if TYPE_CHECKING:
    from reid.container.diagnosis import Diagnosis
    from reid.settings.loading import ResolvedSettings

PathsOption = Annotated[
    bool, option("--paths", "Show paths and the names of user and machine, otherwise hidden.")
]


@takes_settings(*DATASET_OPTIONS)
def doctor(
    resolved: "ResolvedSettings", *, paths: PathsOption = False, as_json: JsonOption = False
) -> None:
    """Check this installation in seconds.

    The output is what a bug report needs.
    """
    from reid.container.program import load_container
    from reid.settings.loading import told_settings

    told = told_settings(resolved, shows_paths=paths)
    container = load_container()(settings=resolved.settings)
    diagnosis = container.diagnose(told=told, shows_paths=paths)
    typer.echo(to_json(diagnosis) if as_json else in_options("\n".join(_lines(diagnosis))))
    if failed := [outcome.name for outcome in diagnosis.checks if not outcome.is_passed]:
        typer.echo(f"Error: {counted(len(failed), 'check')} failed: {', '.join(failed)}", err=True)
        raise typer.Exit(EXIT_UNSOUND)


def _lines(diagnosis: "Diagnosis") -> Iterator[str]:
    """List the facts by subject, then the result of each check and what to do if it failed."""
    yield f"reid {version('clip-reid')}"
    for subject, found in diagnosis.facts.items():
        yield f"{subject}:"
        if isinstance(found, dict):
            found = [f"{name}: {_text(value)}" for name, value in found.items()]
        entries = found if isinstance(found, list) else [found]
        yield from (f"  {_text(entry)}" for entry in entries or [None])
    width = max(len(outcome.name) for outcome in diagnosis.checks)
    yield "checks:"
    for outcome in diagnosis.checks:
        verdict = "ok    " if outcome.is_passed else "FAILED"
        name = f"{outcome.name:<{width}}"
        yield f"  {verdict} {name}  {outcome.finding} ({outcome.seconds:.1f} s)"
        if outcome.advice is not None:
            yield f"         to do: {outcome.advice}"


def _text(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


@takes_settings(*DATASET_OPTIONS)
def settings(resolved: "ResolvedSettings", *, as_json: JsonOption = False) -> None:
    """List every setting, its value and where it comes from."""
    from reid.container.registry import Group, find

    values = resolved.settings
    for source in (values.dataset, *values.dataset.also):
        find(Group.DATASETS, source.kind)
    find(Group.INDEXES, values.index.kind)
    if values.encoder.kind is not None:
        find(Group.ENCODERS, values.encoder.kind)
    rows = resolved.rows()
    if as_json:
        answer = to_json({row.key: {"value": row.value, "origin": str(row.origin)} for row in rows})
    else:
        cells = [(row.key, f"= {toml_value(row.value)}", str(row.origin)) for row in rows]
        answer = table(("setting", "  value", "set by"), cells)
    typer.echo(answer)
