"""`reid dataset`: inspect a dataset, or draw one."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reid.cli.mentions import in_options
from reid.cli.options import JsonOption, argument, option, takes_settings
from reid.cli.render import render_dataset_check, to_json
from reid.container.checks import require_dataset
from reid.container.program import wired
from reid.domain.errors import DatasetError
from reid.domain.values.counts import counted
from reid.domain.values.samples import ImageSize

if TYPE_CHECKING:
    from reid.settings.loading import ResolvedSettings

RootArgument = Annotated[Path, argument("ROOT", "Folder (or CSV) of the dataset.")]
FolderArgument = Annotated[Path, argument("DIR", "Folder to create.")]
IdentitiesOption = Annotated[int, option("--identities N", "People to train on.")]
TestIdentitiesOption = Annotated[
    int, option("--test-identities N", "Other people, in queries and gallery.")
]
ImagesOption = Annotated[int, option("--images-per-camera N", "Images of a person in each camera.")]
CamerasOption = Annotated[int, option("--cameras N", "Cameras, at least 2.")]
DistractorsOption = Annotated[
    int, option("--distractors N", "Gallery images of people without a query.")
]
JunkOption = Annotated[int, option("--junk N", "Badly cut gallery images (pid -1).")]
SizeOption = Annotated[str, option("--size HEIGHTxWIDTH", "Size of the images in pixels.")]
OverwriteOption = Annotated[bool, option("--overwrite", "Replace a folder that was drawn earlier.")]

dataset_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Inspect a dataset, or draw one."
)


@dataset_app.command("check")
@takes_settings("dataset.kind", arguments={"dataset.root": RootArgument})
def check(resolved: "ResolvedSettings", *, as_json: JsonOption = False) -> None:
    """Count a dataset's people, images and cameras.

    Every image is decoded, and everything unusual is listed.
    """
    require_dataset(resolved.settings.dataset)
    with wired(resolved.settings) as container:
        found = container.check_dataset()
    typer.echo(to_json(found) if as_json else in_options(render_dataset_check(found)))
    if found.unreadable:
        raise DatasetError(
            f"{counted(len(found.unreadable), 'image')} cannot be read; replace or "
            "remove such files"
        )


@dataset_app.command("generate")
@takes_settings("seed")
def generate(
    resolved: "ResolvedSettings",
    *,
    folder: FolderArgument,
    identities: IdentitiesOption = 16,
    test_identities: TestIdentitiesOption = 8,
    images_per_camera: ImagesOption = 2,
    cameras: CamerasOption = 3,
    distractors: DistractorsOption = 0,
    junk: JunkOption = 0,
    size: SizeOption = "128x64",
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Draw people in Market-1501's layout.

    The drawings let you try the program without real images.
    """
    with wired(resolved.settings) as container:
        drawn_dataset = container.drawn_dataset(
            identities=identities,
            test_identities=test_identities,
            images_per_camera=images_per_camera,
            cameras=cameras,
            distractors=distractors,
            junk=junk,
            size=_parse_size(size),
            seed=resolved.settings.seed,
        )
        drawn = drawn_dataset.draw(folder, overwrite=overwrite)
    words = (
        f"Drew {drawn.num_train} training, {drawn.num_query} query and {drawn.num_gallery} gallery "
        f"images of {drawn.identities} + {drawn.test_identities} people in {drawn.cameras} cameras "
        f"into {folder}"
    )
    typer.echo(to_json(drawn) if as_json else words)


def _parse_size(text: str) -> ImageSize:
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    try:
        return ImageSize(*map(int, match.groups() if match else ()))
    except (TypeError, ValueError) as error:
        raise typer.BadParameter(
            f"{text!r} is not a size; write height x width, for example 128x64", param_hint="--size"
        ) from error
