"""The `reid` program."""

from importlib.metadata import version
from typing import Annotated

import typer

from reid.cli.calibrate import calibrate
from reid.cli.dataset import dataset_app
from reid.cli.doctor import doctor, settings
from reid.cli.errors import ReidGroup
from reid.cli.evaluate import evaluate
from reid.cli.explain import explain
from reid.cli.export import export
from reid.cli.gallery import gallery_app
from reid.cli.identify import identify
from reid.cli.index import index_app
from reid.cli.models import models_app
from reid.cli.runs import compare, report, reproduce
from reid.cli.serve import serve
from reid.cli.train import demo, train
from reid.extras import EXTRAS, describe_extra

app = typer.Typer(
    name="reid",
    cls=ReidGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)


def _show_version(wanted: bool) -> None:  # noqa: FBT001  (Typer calls it with the flag)
    if wanted:
        packages = (f"{name} {version(name)}" for name in ("torch", "open_clip_torch", "pillow"))
        extras = map(describe_extra, EXTRAS)
        lines = [f"reid {version('clip-reid')}", *packages, *extras]
        typer.echo("\n".join(lines))
        raise typer.Exit


@app.callback()
def reid(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_show_version,
            is_eager=True,
            help="Show the versions of the program and its packages.",
        ),
    ] = False,
) -> None:
    """Person re-identification with CLIP: train, evaluate and identify on your own images."""


for command in (
    *(train, evaluate, identify, calibrate, explain, serve),
    *(export, compare, reproduce, report, demo),
):
    app.command(command.__name__)(command)
app.add_typer(dataset_app, name="dataset")
app.add_typer(gallery_app, name="gallery")
app.add_typer(index_app, name="index")
app.add_typer(models_app, name="models")
app.command("settings")(settings)
app.command("doctor")(doctor)


def main() -> None:
    """Run the program."""
    app()
