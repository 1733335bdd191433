"""`reid gallery`: known people, stored as vectors."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reid.cli import gallery_answers as answers
from reid.cli.options import ENCODER_OPTIONS, JsonOption, argument, option, takes_settings
from reid.cli.render import render_unreadable, to_json
from reid.container.checks import require_gallery, require_images
from reid.container.program import settings_to_answer, wired
from reid.domain.errors import DatasetError, GalleryError
from reid.domain.values.counts import counted

if TYPE_CHECKING:
    from reid.container.root import Container
    from reid.domain.services.gallery import Gallery
    from reid.settings.loading import ResolvedSettings

GalleryArgument = Annotated[
    str, argument("GALLERY", "Folder of the gallery, or its name in a database.")
]
SourceArgument = Annotated[
    Path,
    argument("IMAGES", "Labelled images: Market-1501 names, a sub-folder per person, or a CSV."),
]
FileArgument = Annotated[Path, argument("FILE", "The exported gallery.")]
LabelArgument = Annotated[
    str, argument("LABEL", "Person to erase; write -- before a label that begins with a dash.")
]
ImagesArgument = Annotated[
    list[str] | None, argument("[IMAGE]...", "Names as printed by `reid identify`, or full paths.")
]
LabelOption = Annotated[
    list[str] | None, option("--label LABEL", "All images of a person; may be repeated.")
]
ClearOption = Annotated[
    bool, option("--clear", "Delete the cache; not while `reid identify` runs.")
]
AuditOption = Annotated[bool, option("--audit", "Also print the audit log.")]

_ENROLMENT_OPTIONS = (
    *ENCODER_OPTIONS,
    *("evaluation.use_cameras", "gallery.expire_after", "gallery.thumbnails"),
)

gallery_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Keep a gallery of known people."
)


@gallery_app.command("build")
@takes_settings(*_ENROLMENT_OPTIONS)
def build(
    resolved: "ResolvedSettings",
    *,
    gallery: GalleryArgument,
    images: SourceArgument,
    as_json: JsonOption = False,
) -> None:
    """Make a gallery from a folder or list, or bring it up to date.

    Images that are no longer in the folder or list are removed.
    """
    _enroll(resolved, gallery, images=images, mirrors=True, as_json=as_json)


@gallery_app.command("add")
@takes_settings(*_ENROLMENT_OPTIONS)
def add(
    resolved: "ResolvedSettings",
    *,
    gallery: GalleryArgument,
    images: SourceArgument,
    as_json: JsonOption = False,
) -> None:
    """Add the images of a folder or list; nothing is removed."""
    _enroll(resolved, gallery, images=images, mirrors=False, as_json=as_json)


@gallery_app.command("remove")
@takes_settings()
def remove(
    resolved: "ResolvedSettings",
    *,
    gallery: GalleryArgument,
    images: ImagesArgument = None,
    labels: LabelOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove images; `reid gallery compact` then frees their space."""
    if not images and not labels:
        raise typer.BadParameter("name images, or people by --label")
    with _opened(resolved, gallery) as (container, kept):
        outcome = container.maintain_gallery().remove(kept, names=images or (), labels=labels or ())
    typer.echo(to_json(outcome) if as_json else answers.removal(outcome, done="Removed"))


@gallery_app.command("forget")
@takes_settings()
def forget(
    resolved: "ResolvedSettings",
    *,
    gallery: GalleryArgument,
    label: LabelArgument,
    as_json: JsonOption = False,
) -> None:
    """Erase a person permanently.

    The audit log keeps a digest of the label.
    """
    with _opened(resolved, gallery) as (container, kept):
        outcome = container.maintain_gallery().forget(kept, label)
    typer.echo(to_json(outcome) if as_json else answers.removal(outcome, done="Erased"))


@gallery_app.command("list")
@takes_settings()
def list_(
    resolved: "ResolvedSettings",
    *,
    gallery: GalleryArgument,
    audit: AuditOption = False,
    as_json: JsonOption = False,
) -> None:
    """List the people in a gallery, and the encoder that made it."""
    with _opened(resolved, gallery) as (container, kept):
        content = container.maintain_gallery().list(kept)
    typer.echo(to_json(content) if as_json else answers.content(content, with_audit=audit))


@gallery_app.command("check")
@takes_settings()
def check(
    resolved: "ResolvedSettings", *, gallery: GalleryArgument, as_json: JsonOption = False
) -> None:
    """Erase expired images, then look for damage."""
    with _opened(resolved, gallery) as (container, kept):
        outcome = container.maintain_gallery().check(kept)
    typer.echo(to_json(outcome) if as_json else answers.check(outcome))
    if outcome.faults:
        raise GalleryError(f"{outcome.place} has {counted(len(outcome.faults), 'fault')}")


@gallery_app.command("compact")
@takes_settings("index.kind")
def compact(
    resolved: "ResolvedSettings", *, gallery: GalleryArgument, as_json: JsonOption = False
) -> None:
    """Free the space of removed images, and rebuild the index."""
    with _opened(resolved, gallery) as (container, kept):
        content = container.maintain_gallery().compact(kept)
    typer.echo(to_json(content) if as_json else answers.total("Compacted", gallery, content))


@gallery_app.command("export")
@takes_settings()
def export(
    resolved: "ResolvedSettings",
    *,
    gallery: GalleryArgument,
    file: FileArgument,
    as_json: JsonOption = False,
) -> None:
    """Write vectors and records to one file.

    Thumbnails and the audit log are left out.
    """
    with _opened(resolved, gallery) as (container, kept):
        content = container.transfer_gallery().export(kept, container.open_archive()(file))
    typer.echo(to_json(content) if as_json else answers.total(f"Wrote {file}:", gallery, content))


@gallery_app.command("import")
@takes_settings()
def import_(
    resolved: "ResolvedSettings",
    *,
    gallery: GalleryArgument,
    file: FileArgument,
    as_json: JsonOption = False,
) -> None:
    """Add the images of an exported file to a gallery.

    The gallery is new, or was made by the same encoder. Repeat an interrupted import to finish it.
    """
    with wired(resolved.settings) as container:
        content = container.transfer_gallery().import_from(
            container.open_archive()(file),
            open_gallery=lambda: container.open_gallery(gallery, create=True),
        )
    typer.echo(to_json(content) if as_json else answers.total(f"Read {file}:", gallery, content))


@gallery_app.command("cache")
@takes_settings()
def cache(
    resolved: "ResolvedSettings", *, clear: ClearOption = False, as_json: JsonOption = False
) -> None:
    """List or delete the vectors that identify caches for plain folders."""
    with wired(resolved.settings) as container:
        kept = container.gallery_cache()
        content = kept.clear() if clear else kept.list()
    typer.echo(to_json(content) if as_json else answers.cache(content, is_cleared=clear))


@contextmanager
def _opened(resolved: "ResolvedSettings", gallery: str) -> Iterator[tuple["Container", "Gallery"]]:
    require_gallery(resolved.settings.gallery, gallery, otherwise=None)
    with (
        wired(resolved.settings) as container,
        closing(container.open_gallery(gallery, create=False)) as kept,
    ):
        yield container, kept


def _enroll(
    resolved: "ResolvedSettings", gallery: str, *, images: Path, mirrors: bool, as_json: bool
) -> None:
    settings = settings_to_answer(resolved)
    require_images(images)
    with wired(settings, num_cameras=0) as container:
        open_images = container.followed_images() if mirrors else container.images()
        outcome = container.enroll_gallery().run(
            open_images(images),
            open_gallery=lambda: container.open_gallery(gallery, create=True),
            mirrors=mirrors,
        )
    typer.echo(to_json(outcome) if as_json else answers.enrolment(outcome))
    if outcome.changes.unreadable:
        raise DatasetError(render_unreadable(outcome.changes.unreadable))
