"""Galleries, from settings: the built-in engines, and the fingerprint of the encoder."""

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

from dependency_injector import providers

from reid.container import registry
from reid.container.checks import FILESYSTEM, require_gallery
from reid.container.encoders import Encoders
from reid.container.foundation import SETTINGS, Foundation
from reid.container.indexes import Indexes
from reid.container.registry import Group
from reid.domain.errors import ConfigurationError, GalleryError
from reid.domain.values.galleries import EncoderFingerprint
from reid.extras import needed_for
from reid.importing import Lazily
from reid.known_models import user_cache

if TYPE_CHECKING:
    from torch import Tensor

    from reid.adapters.galleries.cache import GalleryCache
    from reid.application.galleries import EnrollGallery, MaintainGallery
    from reid.application.gallery_transfer import TransferGallery
    from reid.domain.services.enrolment import Enrolment
    from reid.domain.services.gallery import Gallery
    from reid.ports.dataset import ImageSource
    from reid.ports.gallery_records import GalleryRecords
    from reid.ports.image_encoder import Encoder
    from reid.ports.vector_index import VectorIndex
    from reid.settings.schema import GallerySettings


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


def open_gallery(
    settings: "GallerySettings",
    create_index: Callable[[], "VectorIndex"],
    name: str,
    *,
    create: bool,
) -> "Gallery":
    """Open a gallery of the kind in the settings; see `GalleryRequest`."""
    found = registry.find(Group.GALLERIES, settings.kind)
    address = settings.postgres.address
    request = GalleryRequest(
        name=name,
        create=create,
        tenant=settings.tenant,
        create_index=create_index,
        records_address=None if address is None else address.get_secret_value(),
        options=registry.options_of(settings, section="gallery"),
    )
    opened: Gallery = registry.load(found)(request)
    return opened


def is_gallery(
    settings: "GallerySettings",
    name: str,
    *,
    otherwise: str = "a folder or .csv list of labelled images",
) -> bool:
    """Whether `name` is a gallery, and not what `otherwise` describes.

    Raises:
        GalleryError: It is neither.
    """
    require_gallery(settings, name, otherwise=otherwise)
    if settings.kind != FILESYSTEM:
        return not Path(name).exists()
    from reid.adapters.galleries.filesystem.gallery import DATABASE

    return (Path(name) / DATABASE).is_file()


def read_gallery_vectors(
    is_gallery: Callable[..., bool], open_gallery: Callable[..., "Gallery"], name: str
) -> "Tensor":
    """Read (G, D) vectors of a gallery, of a folder of .npy files, or of one such file."""
    from reid.adapters.vectors_file import read_vectors

    if not is_gallery(name, otherwise="a folder of .npy files of vectors"):
        return read_vectors(Path(name))
    with closing(open_gallery(name, create=False)) as gallery:
        return gallery.vectors([image.key for image in gallery.images()])


def open_source(name: str) -> Union["ImageSource", None]:
    """Open the images that a gallery was made from; None if they are gone."""
    from reid.adapters.images.folders import open_images

    return open_images(Path(name)) if Path(name).exists() else None


def encoder_fingerprint(encoder: "Encoder") -> EncoderFingerprint:
    """Return the encoder's fingerprint, without cameras; an export has that of its original."""
    from reid.domain.values.checkpoints import digest_of
    from reid.ports.image_encoder import FrozenEncoder

    description = encoder.description
    return EncoderFingerprint(
        name=description.name,
        weights=description.weights,
        digest=encoder.weights_digest
        if isinstance(encoder, FrozenEncoder)
        else digest_of(encoder.state()),
        width=encoder.geometry.embedding_width,
        options=description.options,
    )


def open_cache(
    settings: "GallerySettings",
    open_memory: Callable[[], "Gallery"],
    gallery_cache: Callable[[], "GalleryCache"],
    name: str,
    fingerprint: EncoderFingerprint,
) -> "Gallery":
    """Open the cached gallery of a folder or list of images; without a cache, one in memory."""
    return gallery_cache().open(name, fingerprint) if settings.use_cache else open_memory()


def cache_folder(settings: "GallerySettings") -> Path:
    """Return the folder for vectors of plain folders: as set, or the user's cache folder."""
    return user_cache() if settings.cache is None else settings.cache


class Galleries(Encoders, Indexes):
    """Known people, stored as vectors."""

    enrolment = providers.Singleton["Enrolment"](
        Lazily("reid.domain.services.enrolment:Enrolment"),
        embedder=Encoders.embedder,
        # Computed once: it reads all weights, which no longer change.
        fingerprint=providers.Singleton(encoder_fingerprint, Encoders.encoder).provider,
        now=Foundation.now,
        keeps_thumbnails=SETTINGS.gallery.thumbnails,
    )
    memory_gallery = providers.Factory(
        Lazily("reid.adapters.galleries.memory:open_memory_gallery"),
        create_index=Indexes.gallery_index.provider,
    )
    is_gallery = providers.Callable(is_gallery, SETTINGS.gallery)
    open_source = providers.Object(open_source)
    open_gallery = providers.Callable(
        open_gallery, SETTINGS.gallery, Indexes.gallery_index.provider
    )
    read_gallery_vectors = providers.Callable(
        read_gallery_vectors, is_gallery.provider, open_gallery.provider
    )
    gallery_cache = providers.Factory["GalleryCache"](
        Lazily("reid.adapters.galleries.cache:GalleryCache"),
        providers.Callable(cache_folder, SETTINGS.gallery),
        create_index=Indexes.gallery_index.provider,
    )
    open_cache = providers.Callable(
        open_cache, SETTINGS.gallery, memory_gallery.provider, gallery_cache.provider
    )
    enroll_gallery = providers.Singleton["EnrollGallery"](
        Lazily("reid.application.galleries:EnrollGallery"),
        enrolment=enrolment,
        now=Foundation.now,
        expire_after=SETTINGS.gallery.expire_after,
    )
    maintain_gallery = providers.Singleton["MaintainGallery"](
        Lazily("reid.application.galleries:MaintainGallery"), now=Foundation.now
    )
    transfer_gallery = providers.Singleton["TransferGallery"](
        Lazily("reid.application.gallery_transfer:TransferGallery"), now=Foundation.now
    )
    open_archive = providers.Object(Lazily("reid.adapters.galleries.archive:FileArchive"))
