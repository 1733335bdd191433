"""Built-in gallery engines, and the request that the factory of each receives."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reid.domain.errors import ConfigurationError, GalleryError
from reid.extras import needed_for

if TYPE_CHECKING:
    from reid.domain.services.gallery import Gallery
    from reid.ports.gallery_records import GalleryRecords
    from reid.ports.vector_index import VectorIndex


@dataclass(frozen=True, slots=True, kw_only=True)
class GalleryRequest:
    """Argument of a gallery engine's factory."""

    name: str  # folder, or name in a database
    create: bool  # whether to make an empty gallery if it does not exist
    tenant: str  # owner of the images in a shared engine; other owners' images are never visible
    create_index: Callable[[], "VectorIndex"]
    """Creates the configured index, for engines that do not search themselves."""
    records_address: str | None = None
    """PostgreSQL server for the records of an engine that stores only vectors; None: SQLite."""
    options: Mapping[str, Any]  # settings of the kind's own section, else `gallery.options`


def open_folder(request: GalleryRequest) -> "Gallery":
    """Open a gallery in a folder of its own; a new one holds no other files."""
    from reid.adapters.galleries.filesystem.gallery import DATABASE, open_filesystem_gallery

    folder = Path(request.name)
    if request.create and not (folder / DATABASE).is_file():
        # Keep galleries apart from images and other files.
        if folder.exists() and not folder.is_dir():
            raise GalleryError(f"{folder} is a file: name a folder for the gallery")
        if folder.is_dir() and any(folder.iterdir()):
            raise GalleryError(
                f"{folder} holds other files and no gallery: name a new folder for the gallery"
            )
    return open_filesystem_gallery(folder, create=request.create, create_index=request.create_index)


def open_postgres(request: GalleryRequest) -> "Gallery":
    """Open a gallery in PostgreSQL, whose address must be set."""
    secret = request.options["address"]
    address = _required("postgres", None if secret is None else secret.get_secret_value())
    with needed_for("gallery.kind: postgres", package="psycopg"):
        from reid.adapters.galleries.postgres.gallery import open_postgres_gallery
    return open_postgres_gallery(
        address,
        name=request.name,
        create=request.create,
        tenant=request.tenant,
        recall=request.options["recall"],
        exact_up_to=request.options["exact_up_to"],
    )


def open_milvus(request: GalleryRequest) -> "Gallery":
    """Open a gallery in Milvus, whose address must be set."""
    address = _required("milvus", request.options["address"])
    token = request.options["token"]
    with needed_for("gallery.kind: milvus", package="pymilvus"):
        from reid.adapters.galleries.milvus.gallery import open_milvus_gallery
    return open_milvus_gallery(
        address,
        name=request.name,
        create=request.create,
        tenant=request.tenant,
        token="" if token is None else token.get_secret_value(),
        index=request.options["index"],
        open_records=partial(_open_records, request) if request.records_address else None,
    )


def _open_records(request: GalleryRequest) -> "GalleryRecords":
    with needed_for("gallery.postgres.address", package="psycopg"):
        from reid.adapters.galleries.postgres.gallery import open_postgres_records
    return open_postgres_records(
        request.records_address or "",
        kind="milvus",
        name=request.name,
        create=request.create,
        tenant=request.tenant,
    )


def _required(kind: str, address: str | None) -> str:
    if not address:
        raise ConfigurationError(
            f"gallery.{kind}.address: must be set where gallery.kind is {kind}"
        )
    return address
