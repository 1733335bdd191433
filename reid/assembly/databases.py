"""Galleries in databases, by settings; their clients are imported when one is asked for."""

from reid.assembly.requirements import needed_for
from reid.domain.errors import ConfigurationError
from reid.domain.services.gallery import Gallery
from reid.settings.schema import GallerySettings


def open_postgres(settings: GallerySettings, name: str, *, create: bool) -> Gallery:
    """Open a gallery in PostgreSQL; an unknown name makes an empty one where that is wanted.

    Raises:
        ConfigurationError: No address is set, or the client is not installed.
        GalleryError: It cannot be reached, or there is none and none is to be made.
    """
    secret = settings.postgres.address
    address = _required("postgres", None if secret is None else secret.get_secret_value())
    with needed_for("gallery.kind: postgres", package="psycopg", extra="postgres"):
        from reid.adapters.galleries.postgres.gallery import PostgresGallery
    return PostgresGallery(
        address,
        name=name,
        create=create,
        tenant=settings.tenant,
        recall=settings.postgres.recall,
        exact_up_to=settings.postgres.exact_up_to,
    )


def open_milvus(settings: GallerySettings, name: str, *, create: bool) -> Gallery:
    """Open a gallery in Milvus; an unknown name makes an empty one where that is wanted.

    Raises:
        ConfigurationError: No address is set, or the client is not installed.
        GalleryError: It cannot be reached, or there is none and none is to be made.
    """
    address = _required("milvus", settings.milvus.address)
    token = settings.milvus.token
    with needed_for("gallery.kind: milvus", package="pymilvus", extra="milvus"):
        from reid.adapters.galleries.milvus.gallery import MilvusGallery
    return MilvusGallery(
        address,
        name=name,
        create=create,
        tenant=settings.tenant,
        token="" if token is None else token.get_secret_value(),
        index=settings.milvus.index,
    )


def _required(kind: str, address: str | None) -> str:
    if not address:
        raise ConfigurationError(
            f"gallery.{kind}.address: must be set where gallery.kind is {kind}"
        )
    return address
