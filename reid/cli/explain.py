"""`reid explain`: which regions make two images similar."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reid.cli.options import JsonOption, argument, option, takes_settings
from reid.cli.render import encoder_line, to_json
from reid.container.checks import require_images
from reid.container.program import settings_to_answer, wired

if TYPE_CHECKING:
    from reid.domain.values.explanations import DeletionCheck, Explanation
    from reid.settings.loading import ResolvedSettings

QueryArgument = Annotated[Path, argument("QUERY", "An image.")]
GalleryArgument = Annotated[Path, argument("GALLERY_IMAGE", "An image to compare it with.")]
OutputOption = Annotated[
    Path,
    option("--output -o FILE", "File to write or replace: .png, .html or .htm.", dir_okay=False),
]


@takes_settings(
    *("recipe", "encoder.kind", "encoder.weights", "seed", "device", "run.directory"),
    *("explain.method", "evaluation.use_cameras"),
)
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
    settings = settings_to_answer(resolved)
    require_images(query, gallery)
    with wired(settings, num_cameras=0) as container:
        page = container.explanation_page()(output)
        open_images = container.images()
        explanation = container.explainer().explain(open_images(query), open_images(gallery))
        place = page.write(explanation)[0]
    typer.echo((_as_json if as_json else _render)(explanation, place))


def _as_json(explanation: "Explanation", place: str) -> str:
    """Write all but pixels and weights."""
    pair = {"query": explanation.query, "gallery": explanation.gallery}
    facts = {
        name: getattr(explanation, name)
        for name in ("encoder", "similarity", "method", "are_cameras_used")
    }
    checked = {
        role: {"image": one.image, "check": one.check, "is_check_passed": one.check.is_passed}
        for role, one in pair.items()
    }
    return to_json({**facts, **checked, "page": place})


def _render(explanation: "Explanation", place: str) -> str:
    cameras = "used" if explanation.are_cameras_used else "left out"
    return "\n".join(
        [
            f"Similarity: {explanation.similarity:.4f} (cosine)",
            encoder_line(explanation.encoder),
            f"Method: {explanation.method}; cameras {cameras}",
            _render_check("query", explanation.query.check),
            _render_check("gallery image", explanation.gallery.check),
            f"Wrote {place}",
        ]
    )


def _render_check(role: str, check: "DeletionCheck") -> str:
    verdict = "" if check.is_passed else "; do not rely on the marks here"
    return (
        f"Without {check.share:.0%} of the {role}: {check.most_marked:.4f} where marked most, "
        f"{check.least_marked:.4f} where marked least, {check.random:.4f} at random{verdict}"
    )
