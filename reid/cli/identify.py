"""`reid identify`: name the people in images."""

from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reid.cli.answers import answer_notes, answers_as_csv, answers_as_json, render_answers
from reid.cli.options import (
    ENCODER_OPTIONS,
    HTML,
    JsonOption,
    argument,
    option,
    output_file,
    takes_settings,
)
from reid.cli.render import render_itself, render_unreadable, warn_if_untrained
from reid.container.checks import require_gallery, require_images
from reid.container.program import settings_to_answer, wired
from reid.domain.errors import DatasetError

if TYPE_CHECKING:
    from reid.application.identify import IdentificationOutcome
    from reid.application.page_data import Thumbnails
    from reid.container.root import Container
    from reid.ports.dataset import ImageSource
    from reid.settings.loading import ResolvedSettings

QueriesArgument = Annotated[
    Path, argument("QUERY_DIR", "Folder, CSV or image of the people to name.")
]
GalleryOption = Annotated[
    str,
    option(
        "--gallery GALLERY",
        "A gallery (reid gallery build), or labelled images: Market-1501 names, a "
        "sub-folder per person, or a CSV.",
    ),
]
CsvOption = Annotated[bool, option("--csv", "Print CSV instead of a table.")]
ReportOption = Annotated[
    Path | None,
    output_file(
        "--report FILE.html",
        "Also write an HTML page that shows each query beside its answers.",
        *HTML,
    ),
]


@takes_settings(
    *ENCODER_OPTIONS,
    *("identify.top_k", "evaluation.use_cameras", "gallery.use_cache", "identify.fusion"),
    *("identify.unknown", "identify.seen_by", "identify.added_from", "identify.added_until"),
    *("identify.tracklets", "identify.rerank"),
)
def identify(
    resolved: "ResolvedSettings",
    *,
    queries: QueriesArgument,
    gallery: GalleryOption,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
    report: ReportOption = None,
) -> None:
    """Name the person in each query image by a labelled gallery."""
    if as_json and as_csv:
        raise typer.BadParameter("--json and --csv exclude each other")
    write = answers_as_csv if as_csv else answers_as_json if as_json else render_answers
    # CSV has no place for it.
    settings = settings_to_answer(resolved, describes=as_csv)
    require_images(queries)
    require_gallery(settings.gallery, gallery)
    with wired(settings, num_cameras=0) as container:
        from reid.application.page_data import thumbnails_in, thumbnails_kept

        asked = container.images()(queries)
        with ExitStack() as opened:
            if container.is_gallery(gallery):
                kept = opened.enter_context(closing(container.open_gallery(gallery, create=False)))
                outcome = container.identify().run(asked, kept)
                thumbnails = thumbnails_kept(kept, open_source=container.open_source())
            else:
                known = container.images()(Path(gallery))
                open_cache = partial(container.open_cache, gallery)
                outcome = container.identify().run_among(asked, known, open_gallery=open_cache)
                thumbnails = thumbnails_in(known.reader)
            warn_if_untrained(outcome.encoder)
            if write is not render_answers and outcome.queries_in_gallery:
                typer.echo(render_itself(outcome.queries_in_gallery), err=True)
            typer.echo(write(outcome))
            if report is not None:
                place = _write_page(container, report, outcome, asked, thumbnails)
                typer.echo(f"Wrote {place}", err=as_csv or as_json)
    unreadable = {
        "query image": outcome.unreadable_queries,
        "gallery image": outcome.unreadable_gallery,
    }
    problems = [render_unreadable(found, what=what) for what, found in unreadable.items() if found]
    if problems:
        raise DatasetError("\n".join(problems))


def _write_page(
    container: "Container",
    path: Path,
    outcome: "IdentificationOutcome",
    queries: "ImageSource",
    thumbnails: "Thumbnails",
) -> str:
    from reid.application.page_data import answers_page_data

    content = answers_page_data(
        outcome.identifications,
        queries=queries.reader,
        gallery=thumbnails,
        title="Who is on these images",
        notes=tuple(answer_notes(outcome, names_place=False)),
    )
    return container.answers_page(path).write(content)[0]
