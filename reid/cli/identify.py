"""`reid identify`: who is on these pictures."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reid.cli.answers import answer_notes, answers_as_csv, answers_as_json, render_answers
from reid.cli.options import (
    SHARED_OPTIONS,
    JsonOption,
    TopKOption,
    UseCamerasOption,
    takes_settings,
)
from reid.cli.wiring import wired
from reid.domain.errors import DatasetError
from reid.domain.values.counts import counted

if TYPE_CHECKING:
    from reid.application.identify import IdentificationOutcome
    from reid.container import Container
    from reid.ports.dataset import PictureSource
    from reid.settings.loading import ResolvedSettings

QueriesArgument = Annotated[
    Path, typer.Argument(metavar="QUERY_DIR", help="Folder, CSV or picture of people to name.")
]
GalleryOption = Annotated[
    Path,
    typer.Option(
        "--gallery",
        metavar="GALLERY_DIR",
        help="Labelled pictures: Market-1501 names, a sub-folder per person, or a CSV.",
    ),
]
CsvOption = Annotated[bool, typer.Option("--csv", help="Print CSV instead of a table.")]

ReportOption = Annotated[
    Path | None,
    typer.Option(
        "--report",
        metavar="FILE",
        help="Write an HTML page too that shows each query beside its answers.",
    ),
]

_OPTIONS = {
    name: option for name, option in SHARED_OPTIONS.items() if name not in ("data", "dataset")
}


@takes_settings({**_OPTIONS, "top_k": TopKOption, "use_cameras": UseCamerasOption})
def identify(
    resolved: "ResolvedSettings",
    *,
    queries: QueriesArgument,
    gallery: GalleryOption,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
    report: ReportOption = None,
) -> None:
    """Name the person on each query picture by the pictures of a labelled gallery."""
    from reid.settings.trained import with_trained_encoder

    if as_json and as_csv:
        raise typer.BadParameter("--json and --csv exclude each other")
    with wired(with_trained_encoder(resolved), num_cameras=0) as container:
        open_pictures = container.pictures()
        asked, known = open_pictures(queries), open_pictures(gallery)
        outcome = container.identify().run_among(
            asked, known, open_gallery=lambda _: container.memory_gallery()
        )
        write = answers_as_csv if as_csv else answers_as_json if as_json else render_answers
        typer.echo(write(outcome))
        if report is not None:
            place = _show(container, outcome, path=report, sources=(asked, known))
            typer.echo(f"Wrote {place}", err=as_csv or as_json)
    unreadable = (*outcome.unreadable_queries, *outcome.unreadable_gallery)
    if unreadable:
        listed = "\n".join(f"  {picture.image}: {picture.reason}" for picture in unreadable)
        raise DatasetError(
            f"{counted(len(unreadable), 'picture')} cannot be read, so left out:\n{listed}"
        )


def _show(
    container: "Container",
    outcome: "IdentificationOutcome",
    *,
    path: Path,
    sources: tuple["PictureSource", "PictureSource"],
) -> str:
    """Write the page of the answers; return its place."""
    from reid.application.show_answers import thumbnails_in

    queries, gallery = sources
    return container.show_answers(page=container.answers_page(path)).run(
        outcome.identifications,
        queries=queries,
        gallery=thumbnails_in(gallery),
        title="Who is on these pictures",
        notes=tuple(answer_notes(outcome)),
    )
