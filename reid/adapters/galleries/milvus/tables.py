"""The collections of a gallery in Milvus: their schemas, and the conditions over them.

Each tenant of a gallery has two: images with their vectors, and the log of changes. Every read
asks for the consistency level "Strong": what a call has written, every later call of any client
finds.

Letters: D width.
"""

import base64
import hashlib
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from pymilvus import CollectionSchema, DataType, MilvusClient
from pymilvus.exceptions import MilvusException
from pymilvus.milvus_client import IndexParams

from reid.adapters.galleries.checks import checksum_of
from reid.adapters.galleries.words import unknown_gallery
from reid.domain.errors import GalleryError
from reid.domain.values.galleries import GalleryFilter, KeptImage, NewImage

CONSISTENCY = "Strong"
KEYS_AT_ONCE = 4000
"""Keys or names in one condition, and in one row of the log, whose JSON may take 64 KiB."""

IMAGE_FIELDS = tuple(KeptImage.__slots__)
"""Of a kept image."""

_LONGEST_TEXT = 8192
_LONGEST_THUMBNAIL = 65535
_CONNECTIVITY = 24
_BUILD_EXPANSION = 100
_ESCAPES = str.maketrans(
    {"\\": r"\\", '"': r"\"", "\n": r"\n", "\r": r"\r", "\t": r"\t"},
)
"""Other control characters stand for themselves."""

_NULLABLE = ("camera", "expires_at")
_NOT_OPENED = "Open local milvus failed"
"""Of pymilvus, where Milvus Lite does not get its file."""

# What pymilvus writes to the console with a traceback it raises too, and is said in words; that it
# tries again is still told.
logging.getLogger("pymilvus.decorators").addFilter(lambda told: told.levelno < logging.ERROR)


class Collections:
    """A client, and the names of one gallery's and tenant's collections."""

    def __init__(
        self, address: str, *, name: str, create: bool, tenant: str, token: str, index: str
    ) -> None:
        """Connect, and make the log where there is none and it is wanted.

        Args:
            address: Of the cluster, or the path of a file for Milvus Lite.
            name: Of the gallery.
            create: Make an empty gallery where there is none.
            tenant: Whose images.
            token: User and password, or key, where the cluster asks for one.
            index: `HNSW` or `FLAT`.

        Raises:
            GalleryError: Milvus cannot be reached, the name or the index is none, or there is no
                such gallery and none is to be made.
        """
        if re.fullmatch(r"[a-zA-Z][a-zA-Z0-9_]{0,60}", name) is None:
            raise GalleryError(
                f"{name!r} names no gallery in Milvus: give a letter and up to 60 letters, digits "
                "and underscores"
            )
        if index not in ("HNSW", "FLAT"):
            raise GalleryError(f"gallery.milvus.index: {index!r} should be HNSW or FLAT")
        owner = hashlib.blake2b(tenant.encode(), digest_size=6).hexdigest()
        self.images, self.log = f"reid_{name}_{owner}_images", f"reid_{name}_{owner}_log"
        self.place = f"the gallery {name}" + (f" of {tenant}" if tenant else "") + " in Milvus"
        self.index = index
        self.is_local = "://" not in address
        if not create and self.is_local and not Path(address).exists():
            raise unknown_gallery(self.place, name=name)  # a client would make the file
        self._client: MilvusClient | None = None
        with self._errors_in_words(), _without_its_log():
            self._client = MilvusClient(address, token=token)
        with self.client() as client:
            if create:
                self._create_log(client)
            elif not client.has_collection(self.log):
                self.close()
                raise unknown_gallery(self.place, name=name)
            # Milvus Lite releases what it had loaded when its process ends, a cluster when told so.
            for collection in (self.log, self.images):
                if client.has_collection(collection):
                    client.load_collection(collection)

    @contextmanager
    def client(self) -> Iterator[MilvusClient]:
        """Lend the client, and say in words what goes wrong with it.

        Raises:
            GalleryError: It was closed, or Milvus refuses or cannot be reached.
        """
        if self._client is None:
            raise GalleryError(f"{self.place} was closed: open it again")
        with self._errors_in_words():
            yield self._client

    def query(
        self, collection: str, condition: str, fields: Sequence[str], **limits: int
    ) -> list[dict[str, Any]]:
        """Read rows, in no order; none where the collection was not made yet."""
        with self.client() as client:
            if collection == self.images and not client.has_collection(collection):
                return []
            return list(
                client.query(
                    collection,
                    filter=condition,
                    output_fields=list(fields),
                    consistency_level=CONSISTENCY,
                    **limits,
                )
            )

    def create_images(self, width: int) -> None:
        """Make the collection of images, where there is none."""
        with self.client() as client:
            if not client.has_collection(self.images):
                self._create_images(client, width)
                client.load_collection(self.images)

    def close(self) -> None:
        """Let the client go; safe to call twice."""
        if self._client is not None:
            self._client.close()
            self._client = None

    @contextmanager
    def _errors_in_words(self) -> Iterator[None]:
        try:
            yield
        except MilvusException as error:
            if self.is_local and _NOT_OPENED in str(error):
                raise GalleryError(
                    f"{self.place}: its file cannot be opened; Milvus Lite serves one process at "
                    "a time: wait until the other has ended, or set gallery.milvus.address to a "
                    "server that several can use"
                ) from error
            raise GalleryError(f"{self.place}: {str(error).strip()}") from error
        except UnicodeEncodeError as error:
            raise GalleryError(f"{self.place} takes Unicode text only: {error}") from error

    def _create_log(self, client: MilvusClient) -> None:
        if client.has_collection(self.log):
            return
        schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("number", DataType.INT64, is_primary=True)
        schema.add_field("unused", DataType.FLOAT_VECTOR, dim=2)  # no collection without vectors
        schema.add_field("body", DataType.JSON)
        index = client.prepare_index_params()
        index.add_index("unused", index_type="FLAT", metric_type="IP")
        _create(client, self.log, schema=schema, index=index)

    def _create_images(self, client: MilvusClient, width: int) -> None:
        schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("key", DataType.INT64, is_primary=True)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=width)
        for name in IMAGE_FIELDS[1:]:
            schema.add_field(
                name, DataType.VARCHAR, max_length=_LONGEST_TEXT, nullable=name in _NULLABLE
            )
        schema.add_field(
            "thumbnail", DataType.VARCHAR, max_length=_LONGEST_THUMBNAIL, nullable=True
        )
        schema.add_field("added_in", DataType.INT64)
        schema.add_field("checksum", DataType.INT64)
        index = client.prepare_index_params()
        walk = {"M": _CONNECTIVITY, "efConstruction": _BUILD_EXPANSION}
        index.add_index(
            "vector",
            index_type=self.index,
            metric_type="IP",
            params={} if self.index == "FLAT" else walk,
        )
        _create(client, self.images, schema=schema, index=index)


def _create(
    client: MilvusClient, name: str, *, schema: CollectionSchema, index: IndexParams
) -> None:
    """Create a collection step by step: all in one, the client sleeps between them.

    There is nothing to wait for, because there are no rows to be indexed yet.
    """
    client.create_collection(name, schema=schema, consistency_level=CONSISTENCY)
    client.create_index(name, index, sync=False)


@contextmanager
def _without_its_log() -> Iterator[None]:
    """Keep Milvus Lite from writing a traceback of what is said in words."""
    log = logging.getLogger("milvus_lite.server_manager")
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before


def row_of(
    image: NewImage, *, key: int, vector: np.ndarray, at: str, version: int
) -> dict[str, Any]:
    """Write an image as a row.

    Raises:
        GalleryError: Its thumbnail is too large.
    """
    thumbnail = None if image.thumbnail is None else base64.b64encode(image.thumbnail).decode()
    if thumbnail is not None and len(thumbnail) > _LONGEST_THUMBNAIL:
        raise GalleryError(f"the thumbnail of {image.name} is too large for Milvus: keep none")
    return {
        "key": key,
        "vector": vector.tolist(),
        "image": image.name,
        "source": image.source,
        "content": image.content,
        "label": image.label,
        "camera": image.camera,
        "added_at": at,
        "expires_at": image.expires_at,
        "thumbnail": thumbnail,
        "added_in": version,
        "checksum": checksum_of(vector),
    }


def thumbnail_of(row: Mapping[str, Any]) -> bytes | None:
    """Read a thumbnail from a row; None where there is none."""
    kept = row["thumbnail"]
    return None if kept is None else base64.b64decode(kept)


def condition_of(within: GalleryFilter) -> str:
    """Put a filter as Milvus wants it, to stand behind another condition."""
    conditions = []
    if within.cameras is not None:
        conditions.append(among("camera", within.cameras))
    if within.without_cameras:
        conditions.append(f"(camera is null or camera not in {_listed(within.without_cameras)})")
    if within.labels is not None:
        conditions.append(among("label", within.labels))
    if within.added_from is not None:
        conditions.append(f"added_at >= {quoted(within.added_from)}")
    if within.added_until is not None:
        conditions.append(f"added_at < {quoted(within.added_until)}")
    return "".join(f" and {condition}" for condition in conditions)


def among(field: str, values: Iterable[str] | Iterable[int]) -> str:
    """Condition that a field is one of several texts or numbers."""
    return f"{field} in {_listed(values)}"


def among_in_parts(field: str, values: Iterable[str] | Iterable[int]) -> tuple[str, ...]:
    """Likewise, to stand behind another condition, in parts that Milvus takes."""
    distinct: list[Any] = sorted(set(values))
    return tuple(
        f" and {among(field, distinct[start : start + KEYS_AT_ONCE])}"
        for start in range(0, len(distinct), KEYS_AT_ONCE)
    )


def quoted(text: str) -> str:
    """Write a text as Milvus wants it in a condition; not every one takes JSON's escapes."""
    return f'"{text.translate(_ESCAPES)}"'


def _listed(values: Iterable[str] | Iterable[int]) -> str:
    distinct: list[Any] = sorted(set(values))
    return f"[{', '.join(quoted(v) if isinstance(v, str) else str(v) for v in distinct)}]"
