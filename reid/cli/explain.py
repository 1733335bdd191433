"""`reid explain`: which regions make two images similar."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reid.cli.options import JsonOption, takes_settings
from reid.cli.render import render_encoder, to_json
from reid.container.checks import require_images
from reid.container.program import wired

if TYPE_CHECKING:
    from reid.application.explain import ExplanationOutcome, ImageOutcome
    from reid.settings.loading import ResolvedSettings

QueryArgument = Annotated[Path, typer.Argument(metavar="QUERY", help="An image.")]
GalleryArgument = Annotated[
    Path, typer.Argument(metavar="GALLERY_IMAGE", help="An image to compare it with.")
]
OutputOption = Annotated[
    Path,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        dir_okay=False,
        help="File to write or replace: .png, .html or .htm.",
    ),
]


@takes_settings("recipe", "encoder", "weights", "seed", "device", "run", "method", "use_cameras")
def explain(
    resolved: "ResolvedSettings",
    *,
    query: QueryArgument,
    gallery: GalleryArgument,
    output: OutputOption,
    as_json: JsonOption = False,
) -> None:
    """Show which regions make two images similar.

    The marked regions are also tested; the output says where not to rely on them.
    """
    from reid.settings.trained import with_trained_encoder

    settings = with_trained_encoder(resolved)
    require_images(query, gallery)
    with wired(settings, num_cameras=0) as container:
        page = container.explanation_page()(output)
        open_images = container.images()
        outcome = container.explain().run(open_images(query), open_images(gallery), page=page)
    typer.echo(to_json(outcome) if as_json else _render(outcome))


def _render(outcome: "ExplanationOutcome") -> str:
    cameras = "used" if outcome.are_cameras_used else "left out"
    return "\n".join(
        [
            f"Similarity: {outcome.similarity:.4f} (cosine)",
            render_encoder(outcome.encoder),
            f"Method: {outcome.method}; cameras {cameras}",
            _render_check("query", outcome.query),
            _render_check("gallery image", outcome.gallery),
            f"Wrote {outcome.page}",
        ]
    )


def _render_check(role: str, explained: "ImageOutcome") -> str:
    check = explained.check
    verdict = "" if explained.is_check_passed else "; do not rely on the marks here"
    return (
        f"Without {check.share:.0%} of the {role}: {check.most_marked:.4f} where marked most, "
        f"{check.least_marked:.4f} where marked least, {check.random:.4f} at random{verdict}"
    )
