"""Collections of vectors in Milvus: a client, their schema, and conditions on rows.

Every read asks for the consistency level "Strong": what a call has written, every later call of any
client finds.

Letters: D width.
"""

import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pymilvus import DataType, MilvusClient
from pymilvus.exceptions import MilvusException

from reid.adapters.galleries.filters import condition_of
from reid.domain.errors import GalleryError
from reid.domain.values.galleries import EVERYTHING, GalleryFilter

_CONSISTENCY = "Strong"
_LONGEST_TEXT = 8192
_INDEXES: Mapping[str, Mapping[str, int]] = {"HNSW": {"M": 24, "efConstruction": 100}, "FLAT": {}}
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n", "\r": r"\r", "\t": r"\t"})
"""Other control characters stand for themselves."""

_NOT_OPENED = "Open local milvus failed"
"""What pymilvus says where Milvus Lite does not get its file."""

# pymilvus also raises what it logs with a traceback, and we explain that; its warnings about
# retries are still shown.
logging.getLogger("pymilvus.decorators").addFilter(lambda line: line.levelno < logging.ERROR)


class Collections:
    """A client that makes, reads and changes collections, all of one schema."""

    def __init__(self, address: str, *, place: str, token: str, index: str) -> None:
        """Connect to a cluster, or to the file of Milvus Lite at the path `address`.

        Raises:
            GalleryError: Milvus cannot be reached.
        """
        self.place = place
        self.is_exact = index == "FLAT"
        self._index = index
        self._is_local = "://" not in address
        self._loaded: set[str] = set()
        self._client: MilvusClient | None = None
        with self._explained(), _without_its_log():
            self._client = MilvusClient(address, token=token)

    @contextmanager
    def client(self) -> Iterator[MilvusClient]:
        """Lend the client, and explain what goes wrong with it.

        Raises:
            GalleryError: It was closed, or Milvus refuses or cannot be reached.
        """
        if self._client is None:
            raise GalleryError(f"{self.place} was closed: open it again")
        with self._explained():
            yield self._client

    def has(self, collection: str) -> bool:
        """Whether a collection was made; it can be read and searched then."""
        with self.client() as client:
            # Milvus Lite releases collections when its process ends, a cluster on request.
            if collection not in self._loaded and client.has_collection(collection):
                self._load(client, collection)
                self._loaded.add(collection)
        return collection in self._loaded

    def create(self, collection: str, width: int) -> None:
        """Make a collection, where there is none."""
        if self.has(collection):
            return
        with self.client() as client:
            schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
            schema.add_field("key", DataType.INT64, is_primary=True)
            schema.add_field("vector", DataType.FLOAT_VECTOR, dim=width)
            for name in ("label", "camera", "added_at"):
                schema.add_field(
                    name, DataType.VARCHAR, max_length=_LONGEST_TEXT, nullable=name == "camera"
                )
            # In two calls: in a single one the client sleeps, though there are no rows to index.
            client.create_collection(collection, schema=schema, consistency_level=_CONSISTENCY)
            self._index_vectors(client, collection)
        self.has(collection)

    def drop(self, collection: str) -> None:
        """Delete a collection, even an unfinished one."""
        self._loaded.discard(collection)
        with self.client() as client:
            client.drop_collection(collection)

    def delete(self, collection: str, **which: Any) -> None:  # noqa: ANN401  (pymilvus has no types)
        """Delete rows; `which` is given as to Milvus."""
        if self.has(collection):
            with self.client() as client:
                client.delete(collection, **which)

    def query(
        self, collection: str, condition: str, fields: Sequence[str], **limits: int
    ) -> list[dict[str, Any]]:
        """Read rows, in no order; none where there is no collection."""
        if not self.has(collection):
            return []
        with self.client() as client:
            return list(
                client.query(
                    collection,
                    filter=condition,
                    output_fields=list(fields),
                    consistency_level=_CONSISTENCY,
                    **limits,
                )
            )

    def search(
        self,
        collection: str,
        queries: list[list[float]],
        *,
        limit: int,
        condition: str,
        effort: int,
    ) -> Iterable[Iterable[Mapping[str, Any]]]:
        """Find the nearest rows of each query by inner product."""
        self.has(collection)
        parameters = {} if self.is_exact else {"ef": max(effort, limit)}
        with self.client() as client:
            found: Iterable[Iterable[Mapping[str, Any]]] = client.search(
                collection,
                data=queries,
                limit=limit,
                filter=condition,
                output_fields=["key"],
                search_params={"metric_type": "IP", "params": parameters},
                consistency_level=_CONSISTENCY,
            )
        return found

    def close(self) -> None:
        """Close the client; safe to call twice."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _load(self, client: MilvusClient, collection: str) -> None:
        """Load a collection; Milvus Lite leaves half an index where its process is killed."""
        try:
            client.load_collection(collection)
        except MilvusException:
            if not self._is_local:
                raise
            client.drop_index(collection, "vector")
            self._index_vectors(client, collection)
            client.load_collection(collection)

    def _index_vectors(self, client: MilvusClient, collection: str) -> None:
        index = client.prepare_index_params()
        parameters = dict(_INDEXES[self._index])
        index.add_index("vector", index_type=self._index, metric_type="IP", params=parameters)
        client.create_index(collection, index, sync=False)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except MilvusException as error:
            if self._is_local and _NOT_OPENED in str(error):
                raise GalleryError(
                    f"{self.place}: its file cannot be opened; Milvus Lite serves one process at "
                    "a time: wait until the other has ended, or set gallery.milvus.address to a "
                    "server that several can use"
                ) from error
            raise GalleryError(f"{self.place}: {str(error).strip()}") from error
        except UnicodeEncodeError as error:
            raise GalleryError(f"{self.place} takes Unicode text only: {error}") from error


@contextmanager
def _without_its_log() -> Iterator[None]:
    """Keep Milvus Lite from logging a traceback of an error that we explain."""
    log = logging.getLogger("milvus_lite.server_manager")
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before


def condition_in_milvus(within: GalleryFilter) -> str:
    """Write a filter as Milvus takes it, values included; empty where it admits everything."""
    if within == EVERYTHING:
        return ""
    condition, values = condition_of(within)
    literals = {name: _literal(value) for name, value in values.items()}
    return re.sub(r":(\w+)", lambda name: literals[name[1]], condition.replace(" among ", " in "))


def _literal(value: str | list[str]) -> str:
    """Write a text or a list of texts; Milvus does not take all of JSON's escapes."""
    if isinstance(value, str):
        return f'"{value.translate(_ESCAPES)}"'
    return f"[{', '.join(map(_literal, value))}]"
