"""Gallery engines that this distribution brings; a request is what the factory of each is given."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reid.domain.errors import ConfigurationError, GalleryError
from reid.extras import needed_for

if TYPE_CHECKING:
    from reid.domain.services.gallery import Gallery
    from reid.ports.vector_index import VectorIndex


@dataclass(frozen=True, slots=True, kw_only=True)
class GalleryRequest:
    """What the factory of a gallery engine is given."""

    name: str
    """A folder, or what else the kind calls a gallery."""

    create: bool
    """Make an empty gallery where there is none."""

    tenant: str
    """Whose images, in an engine that serves several; others' are never seen."""

    create_index: Callable[[], "VectorIndex"]
    """Makes the index that settings name, for engines that do not search themselves."""

    options: Mapping[str, Any]
    """What the section of the kind's name holds, else `gallery.options`."""


def open_folder(request: GalleryRequest) -> "Gallery":
    """Open a gallery in a folder of its own.

    Raises:
        GalleryError: It is missing or damaged, or the folder to be made holds other things.
    """
    from reid.adapters.galleries.filesystem.gallery import DATABASE, open_filesystem_gallery

    folder = Path(request.name)
    if request.create and not (folder / DATABASE).is_file():
        _require_vacant(folder)
    return open_filesystem_gallery(folder, create=request.create, create_index=request.create_index)


def open_postgres(request: GalleryRequest) -> "Gallery":
    """Open a gallery in PostgreSQL.

    Raises:
        ConfigurationError: No address is set, or the client cannot be imported.
        GalleryError: It cannot be reached, or there is none and none is to be made.
    """
    secret = request.options["address"]
    address = _required("postgres", None if secret is None else secret.get_secret_value())
    with needed_for("gallery.kind: postgres", package="psycopg"):
        from reid.adapters.galleries.postgres.gallery import PostgresGallery
    return PostgresGallery(
        address,
        name=request.name,
        create=request.create,
        tenant=request.tenant,
        recall=request.options["recall"],
        exact_up_to=request.options["exact_up_to"],
    )


def open_milvus(request: GalleryRequest) -> "Gallery":
    """Open a gallery in Milvus.

    Raises:
        ConfigurationError: No address is set, or the client cannot be imported.
        GalleryError: It cannot be reached, or there is none and none is to be made.
    """
    address = _required("milvus", request.options["address"])
    token = request.options["token"]
    with needed_for("gallery.kind: milvus", package="pymilvus"):
        from reid.adapters.galleries.milvus.gallery import MilvusGallery
    return MilvusGallery(
        address,
        name=request.name,
        create=request.create,
        tenant=request.tenant,
        token="" if token is None else token.get_secret_value(),
        index=request.options["index"],
    )


def _required(kind: str, address: str | None) -> str:
    if not address:
        raise ConfigurationError(
            f"gallery.{kind}.address: must be set where gallery.kind is {kind}"
        )
    return address


def _require_vacant(folder: Path) -> None:
    """Keep galleries apart from images and other files."""
    if folder.exists() and not folder.is_dir():
        raise GalleryError(f"{folder} is a file: name a folder for the gallery")
    if folder.is_dir() and any(folder.iterdir()):
        raise GalleryError(
            f"{folder} holds other files and no gallery: name a new folder for the gallery"
        )
