"""A gallery with its vectors in Milvus, for more than a machine holds; its records are elsewhere.

A gallery's vectors are in a collection of its own, whose name the records keep as the vectors'
state. Milvus has no transactions. The records' lock admits one writer at a time, which deletes what
an interrupted one left above the last key, inserts, and flushes before the records are committed.

Erased rows leave the disk when Milvus compacts and its garbage is collected, which `reclaim` asks
for and a cluster does in its own time; its message log and object storage are the cluster's.

Letters: Q queries, D width, K answers.
"""

import hashlib
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reid.adapters.galleries.milvus.collections import Collections, condition_in_milvus
from reid.adapters.galleries.rows import RowsView, WithoutUpkeep, neighbours_of, vectors_by_key
from reid.adapters.galleries.sqlite.records import SqliteRecords
from reid.domain.errors import GalleryError
from reid.domain.ranking.distances import is_as_near
from reid.domain.services.gallery import Gallery
from reid.domain.services.gallery_checks import as_array
from reid.domain.values.features import Neighbours
from reid.domain.values.galleries import EVERYTHING, GalleryFilter, KeptImage
from reid.ports.gallery_records import GalleryRecords

WAIT_SECONDS = 30.0  # how long a second writer waits for the first
_KEYS_AT_ONCE = 4000
_INSERTED_AT_ONCE = 1000
_MOST_ANSWERS = 16_384  # Milvus's limit
_QUERIES_AT_ONCE = 256
_EXPANSION = 128
_REFERENCE_EXPANSION = 4096
_NUM_PROBES = 100


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
        open_records: Opens the gallery's records, or makes them; None: in a file by Milvus Lite's.
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
    if open_records is None:
        file = _file_beside(address, name=name, tenant=tenant)
        records = _open_file(file, place=place, create=create, wait_seconds=wait_seconds)
    else:
        records = open_records()
    try:
        _name_collection(records, name)
        collections = Collections(address, place=place, token=token, index=index)
    except BaseException:
        records.close()
        raise
    return Gallery(records, MilvusVectors(collections), place=place)


def _file_beside(address: str, *, name: str, tenant: str) -> Path:
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


class MilvusVectors(WithoutUpkeep):
    """Keeps vectors by key, with what filters need; behind the port.

    There is one state, for vectors are deleted only after their records have gone. Milvus tends its
    index by itself.
    """

    filters = True
    residual_traces = (
        "in Milvus's segments until it has compacted them, which compacting the gallery asks "
        "for, and its garbage collection has run, and in its message log until that is cut, "
        "which is up to the cluster's operator"
    )

    def __init__(self, collections: Collections) -> None:
        """Keep the client."""
        self._collections = collections
        self._measured: dict[str, tuple[int, float]] = {}

    @property
    def is_exact(self) -> bool:
        """Whether the index is."""
        return self._collections.is_exact

    def view(self, state: str) -> "MilvusView":
        """See what there is."""
        return MilvusView(self._collections, state, self._measured)

    def add(self, state: str, images: Sequence[KeptImage], vectors: Tensor) -> str:
        """Insert rows, down to the disk, in the place of what an interrupted writer left."""
        if images and images[0].key == 1:
            # Nothing was ever kept: a collection there may lack its index, or be of another width.
            self._collections.drop(state)
        self._collections.create(state, vectors.shape[1])
        rows = [
            {
                "key": one.key,
                "vector": vector.tolist(),
                "label": one.label,
                "camera": one.camera,
                "added_at": one.added_at,
            }
            for one, vector in zip(images, as_array(vectors), strict=True)
        ]
        if rows:
            self._collections.delete(state, filter=f"key >= {rows[0]['key']}")
        with self._collections.client() as client:
            for part in _parts(rows, _INSERTED_AT_ONCE):
                client.insert(state, part)
            client.flush(state)
        return state

    def drop(self, state: str, keys: Sequence[int]) -> str:
        """Delete rows."""
        for part in _parts(keys, _KEYS_AT_ONCE):
            self._collections.delete(state, ids=list(part))
        return state

    def has_leftovers(self, state: str, *, last_key: int) -> bool:
        """Whether an interrupted writer left rows."""
        return bool(self._collections.query(state, f"key > {last_key}", ["key"], limit=1))

    def tidy(self, state: str, *, last_key: int) -> None:
        """Delete rows that an interrupted writer left."""
        self._collections.delete(state, filter=f"key > {last_key}")

    def reclaim(self, state: str, *, is_thorough: bool) -> None:  # noqa: ARG002  (one way)
        """Ask Milvus to give back the room of deleted rows."""
        if self._collections.has(state):
            with self._collections.client() as client:
                client.flush(state)
                client.compact(state)

    def close(self) -> None:
        """Close the client."""
        self._collections.close()


@dataclass(frozen=True, slots=True)
class MilvusView:
    """The vectors of a collection; behind the port."""

    collections: Collections
    collection: str
    measured: dict[str, tuple[int, float]]  # rows and recall by collection, as measured last
    is_ready: bool = True

    @property
    def recall(self) -> float:
        """Recall against a search of 32 times the usual effort, by up to 100 images; 1 if exact.

        An exact search over a cluster's rows would take too long.
        """
        if self.collections.is_exact:
            return 1.0
        count = self._count()
        known = self.measured.get(self.collection)
        if known is None or known[0] != count:
            known = count, self._measure() if count > 1 else 1.0
            self.measured[self.collection] = known
        return known[1]

    def of(self, keys: Sequence[int]) -> Tensor:
        """Look up vectors; see the port."""
        found: dict[int, np.ndarray] = {}
        for part in _parts(sorted(set(keys)), _KEYS_AT_ONCE):
            condition = f"key in {list(part)}"
            for row in self.collections.query(self.collection, condition, ["key", "vector"]):
                found[row["key"]] = np.array(row["vector"], dtype=np.float32)
        return vectors_by_key(found, keys, place=self.collections.place)

    def nearest(self, queries: Tensor, k: int, *, within: GalleryFilter) -> Neighbours:
        """Ask Milvus; see the port."""
        num_answers = k if k <= _MOST_ANSWERS else min(k, self._count())
        if num_answers > _MOST_ANSWERS:
            raise GalleryError(
                f"{self.collections.place} gives at most {_MOST_ANSWERS:,} answers, not "
                f"{num_answers:,}: ask for fewer (identify.top_k)"
            )
        return self._ask(queries, num_answers, within=within)

    def among(self, queries: Tensor, k: int, *, keys: Sequence[int]) -> Neighbours:
        """Read the vectors and compare."""
        rows = RowsView(np.array(keys, dtype=np.int64), self.of(keys))
        return rows.among(queries, k, keys=keys)

    def _ask(
        self,
        queries: Tensor,
        k: int,
        *,
        within: GalleryFilter = EVERYTHING,
        effort: int = _EXPANSION,
    ) -> Neighbours:
        """Search; more than is wanted, so that equally near ones are ordered by key."""
        condition, limit = condition_in_milvus(within), min(_MOST_ANSWERS, 2 * k + 16)
        answers = []
        for start in range(0, len(queries), _QUERIES_AT_ONCE):
            part = queries[start : start + _QUERIES_AT_ONCE].tolist()
            found = self.collections.search(
                self.collection, part, limit=limit, condition=condition, effort=effort
            )
            answers += [_ranked(hits)[:k] for hits in found]
        return neighbours_of(answers, k=k)

    def _count(self) -> int:
        counted = self.collections.query(self.collection, "", ["count(*)"])
        return int(counted[0]["count(*)"]) if counted else 0

    def _measure(self) -> float:
        rows = self.collections.query(self.collection, "key >= 0", ["vector"], limit=_NUM_PROBES)
        probes = torch.tensor([row["vector"] for row in rows], dtype=torch.float32)
        found = self._ask(probes, 2)
        best = self._ask(probes, 2, effort=_REFERENCE_EXPANSION)
        return float(is_as_near(found.distances, best.distances)[:, 1].double().mean())


def _ranked(hits: Iterable[Mapping[str, Any]]) -> list[tuple[int, float]]:
    """Order answers by distance as float32, then by key."""
    found = [
        (int(hit["key"]), float(np.float32(min(2.0, max(0.0, 1 - hit["distance"])))))
        for hit in hits
    ]
    return sorted(found, key=lambda one: (one[1], one[0]))


def _parts(values: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (values[start : start + size] for start in range(0, len(values), size))
