"""A gallery in Milvus: for more images than one machine holds.

Milvus has no transactions. What the port promises is kept by the order of writes:

* A change becomes visible by one row of the log collection, written last: it holds the version, the
  line of the audit log, and the keys that go. Rows of images name the version that adds them;
  readers look at rows of versions up to the one they read, without the keys that go. A crash before
  that row leaves the earlier state; what it had written is deleted by the next writer.
* After a bulk write the collection is flushed before the change becomes visible, and every read
  asks for the consistency level "Strong": what a call has written, every later call of any client
  finds.
* One writer at a time, others wait: by claims in the log, of which `log` says what they
  rest on.

What is not kept, or by others:

* Rows that went are deleted by the next change (at once by `erase`), so that a reader in the midst
  of a search may miss them before it sees the version without them.
* More than 4,000 images are removed or erased in several changes, the audit line in the last.
* An addition that replaces more than 4,000 images is refused, as are more than 16,384 answers to
  a search.
* Erased rows leave the disk when Milvus compacts and its garbage is collected, which `erase` asks
  for and a cluster does in its own time; its message log and object storage are the cluster's.
* `describe`, `check` and a listing of all images read all rows, which takes its time at 10**8.

Letters: G images kept, N images added, Q queries, D width, K answers.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import product
from typing import Any, Unpack

import numpy as np
import torch
from torch import Tensor

from reid.adapters.galleries.calibrations import from_plain, to_plain
from reid.adapters.galleries.checks import (
    NORM_TOLERANCE,
    check_additions,
    check_question,
    checksum_of,
    require_kept,
)
from reid.adapters.galleries.milvus.log import LEASE_SECONDS, WAIT_SECONDS, ChangeLog, Lease, State
from reid.adapters.galleries.milvus.tables import (
    CONSISTENCY,
    IMAGE_FIELDS,
    KEYS_AT_ONCE,
    Collections,
    among_in_parts,
    condition_of,
    quoted,
    row_of,
    thumbnail_of,
)
from reid.adapters.galleries.words import after_removal
from reid.domain.errors import GalleryError
from reid.domain.values.galleries import (
    EVERYTHING,
    AuditEntry,
    Calibration,
    EncoderFingerprint,
    GalleryDescription,
    GalleryFilter,
    ImageLookup,
    KeptImage,
    NewImage,
    admitted_values,
    with_calibrations,
)
from reid.domain.values.ranking import Neighbours

_ROWS_AT_ONCE = 10_000
_INSERTED_AT_ONCE = 1000
_FLUSHED_AT_ONCE = 10_000
"""So that no flush takes as long as a writer's lease."""

_MOST_ANSWERS = 16_384
"""Milvus's limit."""

_QUERIES_AT_ONCE = 256
_EXPANSION = 128
_REFERENCE_EXPANSION = 4096
_NUM_PROBES = 100
_SAME_DISTANCE = 1e-6


class MilvusGallery:
    """Keeps images of one tenant in two collections."""

    def __init__(
        self,
        address: str,
        *,
        name: str = "gallery",
        create: bool = True,
        tenant: str = "",
        token: str = "",
        index: str = "HNSW",
        lease_seconds: float = LEASE_SECONDS,
        wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        """Connect, and make the log where there is none and it is wanted.

        Args:
            address: Of the cluster, `http://host:19530`, or the path of a file for Milvus Lite.
            name: Of the gallery: its collections begin with it.
            create: Make an empty gallery where there is none.
            tenant: Whose images; each has collections of its own.
            token: User and password, or key, where the cluster asks for one.
            index: Of Milvus, by inner product: `HNSW`, or `FLAT`, which is exact.
            lease_seconds: After which another writer that shows no life is taken for dead; the
                same for all who write.
            wait_seconds: How long to wait for another writer.

        Raises:
            GalleryError: Milvus cannot be reached, the name or the index is none, or there is no
                such gallery and none is to be made.
        """
        self._collections = Collections(
            address, name=name, create=create, tenant=tenant, token=token, index=index
        )
        self._log = ChangeLog(
            self._collections, lease_seconds=lease_seconds, wait_seconds=wait_seconds
        )
        self._measured: tuple[int, float] | None = None

    @property
    def place(self) -> str:
        """The gallery's name and tenant."""
        return self._collections.place

    @property
    def is_exact(self) -> bool:
        """Whether the index is FLAT."""
        return self._collections.index == "FLAT"

    @property
    def recall(self) -> float:
        """Against a search of 32 times the usual effort, of up to 100 images; 1 for FLAT.

        An exact search over a cluster's rows would take too long to measure by.
        """
        state = self._log.newest()
        if self.is_exact or state.num_images < 2:
            return 1.0
        if self._measured is None or self._measured[0] != state.version:
            self._measured = (state.version, self._measure(state))
        return self._measured[1]

    @property
    def residual_traces(self) -> str:
        """Segments and logs of Milvus; see the module."""
        return (
            "in Milvus's segments until it has compacted them (reid gallery compact asks for it) "
            "and its garbage collection has run, and in its message log until that is cut, which "
            "whoever runs the cluster sees to"
        )

    def describe(self) -> GalleryDescription:
        """Read the newest row of the log."""
        state = self._log.newest()
        return GalleryDescription(
            fingerprint=state.encoder,
            num_images=state.num_images,
            calibrations=from_plain(state.calibration),
            version=state.version,
        )

    def images(self, **wanted: Unpack[ImageLookup]) -> tuple[KeptImage, ...]:
        """List images; see the port."""
        state = self._log.newest()
        among = admitted_values(wanted)
        rest = ""
        if (expired_at := wanted.get("expired_at")) is not None:
            rest = f" and expires_at is not null and expires_at <= {quoted(expired_at)}"
        rows = (
            row
            for parts in product(*(among_in_parts(name, values) for name, values in among.items()))
            for row in self._matching(state, "".join(parts) + rest, is_few="key" in among)
        )
        return _kept(rows)

    def page(self, *, after: int, limit: int) -> tuple[KeptImage, ...]:
        """List the next images; see the port."""
        state = self._log.newest()
        found: list[KeptImage] = []
        for start in range(after + 1, state.next_key, _ROWS_AT_ONCE):
            within = f"key >= {start} and key < {start + _ROWS_AT_ONCE}"
            found += _kept(self._query(f"{within} and {state.is_visible}", IMAGE_FIELDS))
            if len(found) >= limit:
                break
        return tuple(found[:limit])

    def vectors(self, keys: Sequence[int]) -> Tensor:
        """Look up vectors; see the port."""
        state = self._log.newest()
        rows = self._rows_of(state, sorted(set(keys)), ("key", "vector"))
        found = {row["key"]: np.array(row["vector"], dtype=np.float32) for row in rows}
        require_kept(keys, found, place=self.place)
        if not keys:
            return torch.empty((0, 0 if state.encoder is None else state.encoder.width))
        return torch.from_numpy(np.stack([found[key] for key in keys]))

    def thumbnail(self, key: int) -> bytes | None:
        """Look up a thumbnail."""
        found = list(self._rows_of(self._log.newest(), [key], ("key", "thumbnail")))
        return thumbnail_of(found[0]) if found else None

    def without_thumbnail(self, keys: Sequence[int]) -> frozenset[int]:
        """Say which have none; see the port."""
        state = self._log.newest()
        return frozenset(
            row["key"]
            for condition in among_in_parts("key", keys)
            for row in self._query(f"{state.is_visible} and thumbnail is null{condition}", ("key",))
        )

    def add(
        self,
        images: Sequence[NewImage],
        vectors: Tensor,
        *,
        fingerprint: EncoderFingerprint,
        entry: AuditEntry,
    ) -> tuple[int, ...]:
        """Keep images; see the port and the module."""
        with self._log.writing() as lease:
            state = self._begin(lease)
            check_additions(
                images, vectors, fingerprint=fingerprint, kept=state.encoder, place=self.place
            )
            replaced = self._named(state, images)
            if len(replaced) > KEYS_AT_ONCE:
                raise GalleryError(
                    f"{self.place} replaces at most {KEYS_AT_ONCE} images at once, not "
                    f"{len(replaced)}: add them in parts"
                )
            self._collections.create_images(fingerprint.width)
            keys = self._insert(state, images, vectors, at=entry.at, lease=lease)
            added = replace(
                state,
                version=state.version + 1,
                next_key=state.next_key + len(keys),
                num_images=state.num_images + len(keys) - len(replaced),
                fingerprint=asdict(state.encoder or fingerprint),
                gone=tuple(replaced),
            )
            self._log.commit(added, entry, lease=lease)
        return keys

    def remove(self, keys: Sequence[int], *, entry: AuditEntry) -> int:
        """Stop keeping images; see the port and the module."""
        with self._log.writing() as lease:
            return self._remove(keys, entry=entry, lease=lease)

    def erase(self, keys: Sequence[int], *, entry: AuditEntry) -> int:
        """Remove images, delete their rows and ask for their room; see the module."""
        with self._log.writing() as lease:
            removed = self._remove(keys, entry=entry, lease=lease)
            with after_removal():
                self._begin(lease)
        with after_removal():
            self._reclaim()
        return removed

    def search(self, queries: Tensor, k: int, *, within: GalleryFilter = EVERYTHING) -> Neighbours:
        """Rank images; see the port and the module."""
        state = self._log.newest()
        check_question(queries, k=k, fingerprint=state.encoder, num_images=state.num_images)
        num_answers = min(k, state.num_images)
        if num_answers > _MOST_ANSWERS:
            raise GalleryError(
                f"{self.place} gives at most {_MOST_ANSWERS:,} answers, not {num_answers:,}: ask "
                "for fewer (--top-k)"
            )
        vectors = queries.detach().cpu().float()
        return self._ask(state, vectors, num_answers, condition=condition_of(within))

    def calibrate(self, calibrations: Sequence[Calibration], *, entry: AuditEntry) -> None:
        """Keep how similarities become decisions."""
        with self._log.writing() as lease:
            state = self._begin(lease)
            kept = with_calibrations(from_plain(state.calibration), calibrations)
            self._log.commit(replace(state, calibration=to_plain(kept)), entry, lease=lease)

    def note(self, entry: AuditEntry) -> None:
        """Write a line of the audit log."""
        with self._log.writing() as lease:
            self._log.commit(self._begin(lease), entry, lease=lease)

    def audit(self) -> tuple[AuditEntry, ...]:
        """Read the audit log."""
        return tuple(self._log.entries())

    def check(self) -> tuple[str, ...]:
        """Look for damage: norms and checksums of vectors, and how many there are."""
        state = self._log.newest()
        faults, count = [], 0
        for row in self._all_rows(state, ("key", "vector", "checksum")):
            count += 1
            vector = np.array(row["vector"], dtype=np.float32)
            if checksum_of(vector) != row["checksum"]:
                faults.append(f"the vector of image {row['key']} is not what was added")
            if not abs(float(np.linalg.norm(vector)) - 1) <= NORM_TOLERANCE:
                faults.append(f"the vector of image {row['key']} is not of unit norm")
        if count != state.num_images:
            faults.append(f"{count} images are kept, not {state.num_images}")
        return tuple(f"{self.place}: {fault}" for fault in faults)

    def compact(self) -> None:
        """Delete rows that count no more and ask Milvus for their room."""
        with self._log.writing() as lease:
            self._begin(lease)
        self._reclaim()

    def close(self) -> None:
        """Let the client go."""
        self._collections.close()

    def _begin(self, lease: Lease) -> State:
        """Delete rows that count no more and those of a change that never became visible."""
        state = self._log.newest()
        images = self._collections.images
        with self._collections.client() as client:
            if client.has_collection(images):
                if state.gone:
                    client.delete(images, ids=list(state.gone))
                client.delete(images, filter=f"added_in > {state.version}")
        self._log.hold(lease)
        return state

    def _insert(
        self,
        state: State,
        images: Sequence[NewImage],
        vectors: Tensor,
        *,
        at: str,
        lease: Lease,
    ) -> tuple[int, ...]:
        """Write rows of the version that comes next, down to the disk."""
        keys = tuple(range(state.next_key, state.next_key + len(images)))
        collection = self._collections.images
        for start in range(0, len(keys), _INSERTED_AT_ONCE):
            part = slice(start, start + _INSERTED_AT_ONCE)
            values = vectors[part].detach().cpu().float().numpy()
            rows = [
                row_of(image, key=key, vector=vector, at=at, version=state.version + 1)
                for key, image, vector in zip(keys[part], images[part], values, strict=True)
            ]
            with self._collections.client() as client:
                client.insert(collection, rows)
                if part.stop >= len(keys) or part.stop % _FLUSHED_AT_ONCE == 0:
                    client.flush(collection)
            self._log.hold(lease)
        return keys

    def _remove(self, keys: Sequence[int], *, entry: AuditEntry, lease: Lease) -> int:
        state = self._begin(lease)
        found = [row["key"] for row in self._rows_of(state, sorted(set(keys)), ("key",))]
        parts = [
            tuple(found[start : start + KEYS_AT_ONCE])
            for start in range(0, len(found), KEYS_AT_ONCE)
        ] or [()]
        for number, part in enumerate(parts, 1):
            removed = replace(
                state,
                version=state.version + 1,
                num_images=state.num_images - len(part),
                gone=part,
            )
            is_last = number == len(parts)
            self._log.commit(removed, entry if is_last else None, lease=lease)
            if not is_last:
                state = self._begin(lease)
        return len(found)

    def _reclaim(self) -> None:
        with self._collections.client() as client:
            if client.has_collection(self._collections.images):
                client.flush(self._collections.images)
                client.compact(self._collections.images)

    def _all_rows(
        self, state: State, fields: Sequence[str], *, condition: str = ""
    ) -> Iterator[dict[str, Any]]:
        """Read rows that count, keys in ranges: answers of Milvus are limited and in no order."""
        for start in range(1, state.next_key, _ROWS_AT_ONCE):
            within = f"key >= {start} and key < {start + _ROWS_AT_ONCE}"
            yield from self._query(f"{within} and {state.is_visible}{condition}", fields)

    def _rows_of(
        self, state: State, keys: Sequence[int], fields: Sequence[str]
    ) -> Iterator[dict[str, Any]]:
        for condition in among_in_parts("key", keys):
            yield from self._query(f"{state.is_visible}{condition}", fields)

    def _matching(
        self, state: State, condition: str, *, is_few: bool = False
    ) -> Iterator[dict[str, Any]]:
        """Read images that count under a condition: at once where those are few."""
        visible = f"{state.is_visible}{condition}"
        if condition and not is_few:
            (counted,) = self._query(visible, ("count(*)",)) or ({"count(*)": 0},)
            is_few = counted["count(*)"] <= _ROWS_AT_ONCE
        if is_few:
            yield from self._query(visible, IMAGE_FIELDS)
        else:
            yield from self._all_rows(state, IMAGE_FIELDS, condition=condition)

    def _query(self, condition: str, fields: Sequence[str]) -> list[dict[str, Any]]:
        return self._collections.query(self._collections.images, condition, fields)

    def _named(self, state: State, images: Sequence[NewImage]) -> list[int]:
        """Find the keys of images of the same sources and names."""
        names = {(image.source, image.name) for image in images}
        rows = (
            row
            for condition in among_in_parts("image", {name for _, name in names})
            for row in self._query(f"{state.is_visible}{condition}", ("key", "source", "image"))
        )
        return [row["key"] for row in rows if (row["source"], row["image"]) in names]

    def _ask(
        self,
        state: State,
        queries: Tensor,
        num_answers: int,
        *,
        condition: str = "",
        expansion: int = _EXPANSION,
    ) -> Neighbours:
        """Search; more than is wanted, so that equally near ones are ordered by key."""
        limit = min(_MOST_ANSWERS, state.num_images, 2 * num_answers + 16)
        indices = torch.full((len(queries), num_answers), -1)  # (Q, K)
        found = torch.full((len(queries), num_answers), torch.inf)  # (Q, K)
        effort = {} if self.is_exact else {"ef": max(expansion, limit)}
        for start in range(0, len(queries), _QUERIES_AT_ONCE):
            with self._collections.client() as client:
                answers = client.search(
                    self._collections.images,
                    data=queries[start : start + _QUERIES_AT_ONCE].tolist(),
                    limit=limit,
                    filter=f"{state.is_visible}{condition}",
                    output_fields=["key"],
                    search_params={"metric_type": "IP", "params": effort},
                    consistency_level=CONSISTENCY,
                )
            for row, hits in enumerate(answers, start):
                ranked = _ranked(hits)[:num_answers]
                indices[row, : len(ranked)] = torch.tensor([key for _, key in ranked]).long()
                found[row, : len(ranked)] = torch.tensor([away for away, _ in ranked])
        return Neighbours(indices=indices, distances=found)

    def _measure(self, state: State) -> float:
        rows = self._query(f"key <= {_NUM_PROBES} and {state.is_visible}", ("vector",))
        rows = rows or self._query(
            f"key > {state.next_key - 1 - _NUM_PROBES} and {state.is_visible}", ("vector",)
        )
        if not rows:
            return 1.0
        probes = torch.tensor([row["vector"] for row in rows], dtype=torch.float32)
        found = self._ask(state, probes, 2)
        best = self._ask(state, probes, 2, expansion=_REFERENCE_EXPANSION)
        return float((found.distances <= best.distances + _SAME_DISTANCE)[:, 1].double().mean())


def _kept(rows: Iterable[Mapping[str, Any]]) -> tuple[KeptImage, ...]:
    found = (KeptImage(**{name: row[name] for name in IMAGE_FIELDS}) for row in rows)
    return tuple(sorted(found, key=lambda image: image.key))


def _ranked(hits: Iterable[Mapping[str, Any]]) -> list[tuple[float, int]]:
    """Order answers by distance as float32, then by key."""
    found = [
        (float(np.float32(min(2.0, max(0.0, 1 - hit["distance"])))), int(hit["key"]))
        for hit in hits
    ]
    return sorted(found)
