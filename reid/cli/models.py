"""`reid models`: encoders by name, their terms and their files."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reid.cli.options import JsonOption, argument, option, output_file, takes_settings
from reid.cli.render import table, to_json
from reid.container.checks import require_run
from reid.container.models import fetch_model, pixels_of
from reid.container.program import wired
from reid.domain.errors import ConfigurationError
from reid.domain.values.counts import counted

if TYPE_CHECKING:
    from reid.domain.values.models import Catalogue, ModelEntry
    from reid.settings.loading import ResolvedSettings

NameArgument = Annotated[str, argument("NAME", "Name of a model, as `reid models list` shows it.")]
FromOption = Annotated[
    Path | None,
    option("--from FILE", "Your own copy of the model's first file, in place of a download."),
]
RunArgument = Annotated[Path, argument("RUN", "Folder of a run; it needs no weights.")]
OutputOption = Annotated[
    Path | None, output_file("--output FILE.md", "Markdown file to write or replace.", ".md")
]
YesOption = Annotated[bool, option("--yes", "Accept the terms without being asked.")]

models_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Encoders by name: what they are, their terms, and their files.",
)


@models_app.command("list")
def list_(*, as_json: JsonOption = False) -> None:
    """List the models that `--weights NAME` takes."""
    from reid.known_models import catalogue

    known = catalogue()
    if as_json:
        typer.echo(to_json([_facts(entry, known) for entry in known.models.values()]))
        return
    rows = [
        (
            f"{entry.name} *" if entry.is_default else entry.name,
            _here(entry),
            _count(entry.parameters),
            _size(entry.size),
            known.standing(entry).partition(";")[0],
            entry.licence.partition(" (")[0],
        )
        for entry in known.models.values()
    ]
    headings = ("model", "here", "parameters", "size", "known of it", "licence of the weights")
    typer.echo(table(headings, rows, numbers=("parameters", "size")))
    typer.echo("Terms, sources and digests: reid models show NAME")
    if any(entry.is_default for entry in known.models.values()):
        typer.echo("* answers where neither a run nor weights are named")


@models_app.command("show")
def show(*, name: NameArgument, as_json: JsonOption = False) -> None:
    """Show what is known of a model: terms, scores with sources, files and digests."""
    from reid.known_models import catalogue, entry_named

    known, entry = catalogue(), entry_named(name)
    text = to_json(_facts(entry, known)) if as_json else "\n".join(_lines(entry, known))
    typer.echo(text)


@models_app.command("card")
@takes_settings("seed")
def card(resolved: "ResolvedSettings", *, run: RunArgument, output: OutputOption = None) -> None:
    """Write the model card of a run: data and terms, recipe, scores, lineage, versions."""
    require_run(run)
    with wired(resolved.settings) as container:
        text = container.model_card(container.open_records()(run))
        if output is None:
            typer.echo(text, nl=False)
        else:
            container.write_page()(output, text)
            typer.echo(f"Wrote {output}", err=True)


@models_app.command("fetch")
def fetch(
    *,
    name: NameArgument,
    origin: FromOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Bring a model onto this machine, after its terms are accepted, and verify it."""
    from reid.known_models import catalogue, entry_named

    entry = entry_named(name)
    for line in (f"{entry.name}: {entry.about}", *catalogue().terms(entry)):
        typer.echo(line, err=True)
    _require_consent(name, is_given=yes)
    outcome = fetch_model(entry, origin=None if origin is None else str(origin))
    if as_json:
        typer.echo(to_json(outcome))
        return
    got = f"Fetched {counted(outcome.num_downloaded, 'file')}" if outcome.num_downloaded else "Here"
    typer.echo("\n".join((f"{got}: {outcome.place}", *outcome.words)))
    typer.echo(f"Use it: reid identify QUERY_DIR --gallery GALLERY --weights {name}")


def _require_consent(name: str, *, is_given: bool) -> None:
    """Ask at a terminal; elsewhere only the option counts."""
    if is_given:
        return
    if not (sys.stdin is not None and sys.stdin.isatty()):
        raise ConfigurationError(
            f"nobody can be asked here whether these terms are accepted: read them (reid models "
            f"show {name}), and give --yes"
        )
    if not typer.confirm("Do you accept these terms?", err=True):
        raise typer.Abort


def _facts(entry: "ModelEntry", known: "Catalogue") -> dict[str, object]:
    from dataclasses import asdict

    from reid.known_models import folder_of, present_path

    place = present_path(entry)
    return {
        **asdict(entry),
        "size": entry.size,
        "terms": known.terms(entry),
        "pixels": pixels_of(entry),
        "path": None if place is None else str(place),
        "cache": str(folder_of(entry)),
    }


def _lines(entry: "ModelEntry", known: "Catalogue") -> Iterator[str]:
    from reid.known_models import folder_of, present_path

    yield f"{entry.name}: {entry.about}"
    yield f"  described at {entry.page}"
    size = "x".join(map(str, entry.image_size)) if entry.image_size else "unknown"
    yield (
        f"  {_count(entry.parameters)} parameters, descriptor of {entry.width or 'unknown'} "
        f"values, images of {size} pixels (height x width)"
    )
    if (pixels := pixels_of(entry)) is not None:
        yield f"  as a graph it takes {pixels}"
    yield "terms:"
    yield from (f"  {line}" for line in known.terms(entry))
    yield "scores, without re-ranking:"
    for score in entry.scores:
        yield f"  {known.datasets[score.on].name}: {score.words} ({score.source})"
    if not entry.scores:
        yield "  none is known"
    yield "files:"
    for file in entry.files:
        yield f"  {file.name}, {_size(file.size)}"
        yield from (f"    {digest}" for digest in file.digests)
        if file.url:
            yield f"    {file.url}"
    place = present_path(entry)
    yield (
        f"here: {folder_of(entry)} is where its files belong" if place is None else f"here: {place}"
    )
    if place is None and entry.by_hand:
        yield entry.by_hand.strip()


def _here(entry: "ModelEntry") -> str:
    from reid.known_models import present_path

    if present_path(entry) is not None:
        return "yes"
    return "by hand" if entry.by_hand else "no"


def _count(number: int | None) -> str:
    return "unknown" if number is None else f"{number / 1e6:.2f} M"


def _size(number: int | None) -> str:
    return "size unknown" if number is None else f"{number / 1e6:.1f} MB"
