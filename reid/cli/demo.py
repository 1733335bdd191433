"""`reid demo`: train, evaluate and identify in minutes, on drawn people."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reid.cli.answers import render_demo
from reid.cli.options import JsonOption, takes_settings
from reid.cli.render import to_json
from reid.container.program import wired

if TYPE_CHECKING:
    from reid.settings.loading import ResolvedSettings

FolderArgument = Annotated[
    Path,
    typer.Argument(metavar="DIR", help="Folder for images and run; replaced if it exists."),
]


@takes_settings("seed", usual_recipe="tiny")
def demo(
    resolved: "ResolvedSettings",
    *,
    folder: FolderArgument = Path("demo"),
    as_json: JsonOption = False,
) -> None:
    """Draw people, train a tiny encoder, and show what it learned."""
    from reid.settings.demo import demo_settings

    settings = demo_settings(resolved.settings, folder=folder)
    with wired(settings) as container:
        outcome = container.demo()
    typer.echo(to_json(outcome) if as_json else render_demo(outcome, settings=settings))
