"""A gallery with its vectors in Milvus and its records in a database with transactions."""

import hashlib
import re
import secrets
from collections.abc import Callable
from pathlib import Path

from reid.adapters.galleries.milvus.collections import Collections
from reid.adapters.galleries.milvus.vectors import MilvusVectors
from reid.adapters.galleries.sqlite.records import SqliteRecords
from reid.domain.errors import GalleryError
from reid.domain.services.gallery import Gallery
from reid.ports.gallery_records import GalleryRecords

WAIT_SECONDS = 30.0
"""How long a second writer waits for the first."""


def open_milvus_gallery(
    address: str,
    *,
    name: str = "gallery",
    create: bool = True,
    tenant: str = "",
    token: str = "",
    index: str = "HNSW",
    open_records: Callable[[], GalleryRecords] | None = None,
    wait_seconds: float = WAIT_SECONDS,
) -> Gallery:
    """Open a gallery; an empty one is made where there is none and it is wanted.

    Args:
        address: Of the cluster, `http://host:19530`, or the path of a file for Milvus Lite.
        name: Of the gallery: its collection begins with it.
        create: Make an empty gallery where there is none.
        tenant: Whose images; each has a collection and records of its own.
        token: User and password, or key, where the cluster asks for one.
        index: Of Milvus, by inner product: `HNSW`, or `FLAT`, which is exact.
        open_records: Opens the records of this gallery and tenant, or makes them where they are
            wanted; None: a SQLite file beside that of Milvus Lite.
        wait_seconds: How long to wait for another writer, where the records are in that file.

    Raises:
        GalleryError: Milvus or the records cannot be reached, the name is not allowed, a
            cluster has no records, or there is no such gallery and none is to be made.
    """
    if re.fullmatch(r"[a-zA-Z][a-zA-Z0-9_]{0,60}", name) is None:
        raise GalleryError(
            f"{name!r} names no gallery in Milvus: give a letter and up to 60 letters, digits "
            "and underscores"
        )
    place = f"the gallery {name}" + (f" of {tenant}" if tenant else "") + " in Milvus"
    if open_records is not None:
        records = open_records()
    else:
        file = _file_beside(address, name=name, tenant=tenant)
        records = _open_file(file, place=place, create=create, wait_seconds=wait_seconds)
    try:
        _name_collection(records, name)
        collections = Collections(address, place=place, token=token, index=index)
    except BaseException:
        records.close()
        raise
    return Gallery(records, MilvusVectors(collections), place=place)


def _file_beside(address: str, *, name: str, tenant: str) -> Path:
    """Name the file of records beside that of Milvus Lite."""
    if "://" in address:
        raise GalleryError(
            "gallery.postgres.address: must be set where gallery.milvus.address is a server: the "
            "records of its galleries are kept there"
        )
    owner = hashlib.blake2b(tenant.encode(), digest_size=6).hexdigest()
    file = Path(address)
    return file.with_name(f"{file.name}-{name}-{owner}.sqlite")


def _open_file(file: Path, *, place: str, create: bool, wait_seconds: float) -> GalleryRecords:
    if not create and not file.is_file():
        raise GalleryError(
            f"{place} does not exist: build it first, or correct its name, gallery.tenant or the "
            "address"
        )
    records = SqliteRecords(file, place=place, wait_seconds=wait_seconds)
    records.open(create=create)
    return records


def _name_collection(records: GalleryRecords, name: str) -> None:
    """Name the gallery's collection, uniquely among all records.

    Two databases may hold records of a gallery of one name: neither's writers must take the other's
    vectors for what a crash left behind.
    """
    with records.reading() as now:
        if now.state().vectors:
            return
    with records.writing() as change:
        if not change.state().vectors:
            change.keep_vectors_state(f"reid_{name}_{secrets.token_hex(6)}")
