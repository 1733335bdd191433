"""A gallery in Milvus: for more pictures than one machine holds.

Milvus has no transactions. What the port promises is kept by the order of writes:

* A change becomes visible by one row of the log collection, written last: it holds the version, the
  line of the audit log, and the keys that go. Rows of pictures name the version that adds them;
  readers look at rows of versions up to the one they read, without the keys that go. A crash before
  that row leaves the earlier state; what it had written is deleted by the next writer.
* After a bulk write the collection is flushed before the change becomes visible, and every read
  asks for the consistency level "Strong": what a call has written, every later call of any client
  finds.

What is not kept, or by others:

* One writer at a time is up to whoever runs it: Milvus has no lock. Two at once can spoil the log.
* Rows that went are deleted by the next change (at once by `erase`), so that a reader in the midst
  of a search may miss them before it sees the version without them.
* More than 4,000 pictures are removed or erased in several changes, the audit line in the last.
* Erased rows leave the disk when Milvus compacts and its garbage is collected, which `erase` asks
  for and a cluster does in its own time; its message log and object storage are the cluster's.
* `describe`, `check` and a listing of all pictures read all rows, which takes its time at 10**8.

Letters: G pictures kept, N pictures added, Q queries, D width, K answers.
"""

import base64
import hashlib
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pymilvus import DataType, MilvusClient
from pymilvus.exceptions import MilvusException
from torch import Tensor

from reid.adapters.galleries.checks import NORM_TOLERANCE, check_additions, check_question
from reid.adapters.galleries.missing import unknown_gallery
from reid.domain.errors import GalleryError
from reid.domain.values.galleries import (
    EVERYTHING,
    AuditAction,
    AuditEntry,
    Calibration,
    EncoderStamp,
    GalleryDescription,
    GalleryFilter,
    KeptPicture,
    NewPicture,
)
from reid.domain.values.ranking import Neighbours

CONSISTENCY = "Strong"
_LONGEST_TEXT = 8192
_LONGEST_THUMBNAIL = 65535
_KEYS_AT_ONCE = 4000
"""Keys in one row of the log, whose JSON may take 64 KiB."""

_ROWS_AT_ONCE = 10_000
_MOST_ANSWERS = 16_384
"""Milvus's limit."""

_QUERIES_AT_ONCE = 256
_CONNECTIVITY = 24
_BUILD_EXPANSION = 100
_EXPANSION = 128
_REFERENCE_EXPANSION = 4096
_NUM_PROBES = 100
_SAME_DISTANCE = 1e-6

_TEXTS = ("image", "source", "content", "label", "camera", "added_at", "expires_at")
_NULLABLE = ("camera", "expires_at")
_FIELDS = ("key", *_TEXTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    """What the last row of the log says."""

    number: int = 0
    """Of the row."""

    version: int = 0
    next_key: int = 1
    num_pictures: int = 0
    stamp: Mapping[str, Any] | None = None
    calibration: Mapping[str, Any] | None = None
    gone: tuple[int, ...] = ()
    """Keys of rows that may be there still but count no more."""

    @property
    def encoder(self) -> EncoderStamp | None:
        return None if self.stamp is None else EncoderStamp(**self.stamp)

    @property
    def is_visible(self) -> str:
        """Condition on rows that count."""
        gone = f" and key not in {list(self.gone)}" if self.gone else ""
        return f"added_in <= {self.version}{gone}"


class MilvusGallery:
    """Keeps pictures of one tenant in two collections."""

    def __init__(
        self,
        address: str,
        *,
        name: str = "gallery",
        create: bool = True,
        tenant: str = "",
        token: str = "",
        index: str = "HNSW",
    ) -> None:
        """Connect, and make the log where there is none and it is wanted.

        Args:
            address: Of the cluster, `http://host:19530`, or the path of a file for Milvus Lite.
            name: Of the gallery: its collections begin with it.
            create: Make an empty gallery where there is none.
            tenant: Whose pictures; each has collections of its own.
            token: User and password, or key, where the cluster asks for one.
            index: Of Milvus, by inner product: `HNSW`, or `FLAT`, which is exact.

        Raises:
            GalleryError: Milvus cannot be reached, the name or the index is none, or there is no
                such gallery and none is to be made.
        """
        if re.fullmatch(r"[a-zA-Z][a-zA-Z0-9_]{0,60}", name) is None:
            raise GalleryError(
                f"gallery.milvus.name: {name!r} should be a letter and up to 60 letters, digits "
                "and underscores"
            )
        if index not in ("HNSW", "FLAT"):
            raise GalleryError(f"gallery.milvus.index: {index!r} should be HNSW or FLAT")
        owner = hashlib.blake2b(tenant.encode(), digest_size=6).hexdigest()
        self._rows, self._log = f"reid_{name}_{owner}_pictures", f"reid_{name}_{owner}_log"
        self._place = f"the gallery {name}" + (f" of {tenant}" if tenant else "") + " in Milvus"
        self._index = index
        self._state = _State()
        self._measured: tuple[int, float] | None = None
        self._client: MilvusClient | None = None
        if not create and _is_missing_file(address):
            raise unknown_gallery(self._place, name=name)  # a client would make the file
        with self._errors_in_words():
            self._client = MilvusClient(address, token=token)
            if create:
                self._create_log()
            elif not self._client.has_collection(self._log):
                self.close()
                raise unknown_gallery(self._place, name=name)

    @property
    def place(self) -> str:
        """The gallery's name and tenant."""
        return self._place

    @property
    def is_exact(self) -> bool:
        """Whether the index is FLAT."""
        return self._index == "FLAT"

    @property
    def recall(self) -> float:
        """Against a search of 32 times the usual effort, of up to 100 pictures; 1 for FLAT.

        An exact search over a cluster's rows would take too long to measure by.
        """
        state = self._read_state()
        if self.is_exact or state.num_pictures < 2:
            return 1.0
        if self._measured is None or self._measured[0] != state.version:
            self._measured = (state.version, self._measure(state))
        return self._measured[1]

    def describe(self) -> GalleryDescription:
        """Count what is kept; reads all labels."""
        state = self._read_state()
        sizes = Counter(row["label"] for row in self._all_rows(state, ("label",)))
        return GalleryDescription(
            stamp=state.encoder,
            num_pictures=state.num_pictures,
            num_labels=len(sizes),
            largest_label=max(sizes.values(), default=0),
            calibration=None if state.calibration is None else Calibration(**state.calibration),
            version=state.version,
        )

    def pictures(
        self, *, keys: Sequence[int] | None = None, labels: Sequence[str] | None = None
    ) -> tuple[KeptPicture, ...]:
        """List pictures; see the port."""
        state = self._read_state()
        condition = "" if labels is None else f" and label in {_listed(labels)}"
        rows = (
            self._all_rows(state, _FIELDS, condition=condition)
            if keys is None
            else self._rows_of(state, sorted(set(keys)), _FIELDS, condition=condition)
        )
        found = (KeptPicture(**{name: row[name] for name in _FIELDS}) for row in rows)
        return tuple(sorted(found, key=lambda picture: picture.key))

    def vectors(self, keys: Sequence[int]) -> Tensor:
        """Look up vectors; see the port."""
        state = self._read_state()
        rows = self._rows_of(state, sorted(set(keys)), ("key", "vector"))
        found = {row["key"]: np.array(row["vector"], dtype=np.float32) for row in rows}
        missing = next((key for key in keys if key not in found), None)
        if missing is not None:
            raise GalleryError(f"{self._place} keeps no picture with the key {missing}")
        if not keys:
            return torch.empty((0, 0 if state.encoder is None else state.encoder.width))
        return torch.from_numpy(np.stack([found[key] for key in keys]))

    def thumbnail(self, key: int) -> bytes | None:
        """Look up a thumbnail."""
        found = list(self._rows_of(self._read_state(), [key], ("key", "thumbnail")))
        kept = found[0]["thumbnail"] if found else None
        return None if kept is None else base64.b64decode(kept)

    def without_thumbnail(self) -> frozenset[int]:
        """List pictures without a thumbnail; see the port."""
        rows = self._all_rows(self._read_state(), ("key",), condition=" and thumbnail is null")
        return frozenset(row["key"] for row in rows)

    def add(
        self,
        pictures: Sequence[NewPicture],
        vectors: Tensor,
        *,
        stamp: EncoderStamp,
        entry: AuditEntry,
    ) -> tuple[int, ...]:
        """Keep pictures; see the port and the module."""
        state = self._begin()
        check_additions(pictures, vectors, stamp=stamp, kept=state.encoder, place=self._place)
        replaced = self._named(state, pictures)
        if len(replaced) > _KEYS_AT_ONCE:
            raise GalleryError(
                f"{self._place} replaces at most {_KEYS_AT_ONCE} pictures at once, not "
                f"{len(replaced)}: add them in parts"
            )
        keys = range(state.next_key, state.next_key + len(pictures))
        values = vectors.detach().cpu().float().numpy()
        rows = [
            _row(picture, key=key, vector=vector, at=entry.at, version=state.version + 1)
            for key, picture, vector in zip(keys, pictures, values, strict=True)
        ]
        with self._errors_in_words() as client:
            self._create_rows(stamp.width)
            for start in range(0, len(rows), _ROWS_AT_ONCE // 10):
                client.insert(self._rows, rows[start : start + _ROWS_AT_ONCE // 10])
            client.flush(self._rows)
        self._commit(
            replace(
                state,
                version=state.version + 1,
                next_key=state.next_key + len(rows),
                num_pictures=state.num_pictures + len(rows) - len(replaced),
                stamp=asdict(state.encoder or stamp),
                gone=tuple(replaced),
            ),
            entry,
        )
        return tuple(keys)

    def remove(self, keys: Sequence[int], *, entry: AuditEntry) -> int:
        """Stop keeping pictures; see the port and the module."""
        state = self._begin()
        found = [row["key"] for row in self._rows_of(state, sorted(set(keys)), ("key",))]
        parts = [
            tuple(found[start : start + _KEYS_AT_ONCE])
            for start in range(0, len(found), _KEYS_AT_ONCE)
        ] or [()]
        for number, part in enumerate(parts, 1):
            self._commit(
                replace(
                    state,
                    version=state.version + 1,
                    num_pictures=state.num_pictures - len(part),
                    gone=part,
                ),
                entry if number == len(parts) else None,
            )
            if number < len(parts):
                state = self._begin()
        return len(found)

    def erase(self, keys: Sequence[int], *, entry: AuditEntry) -> int:
        """Remove pictures, delete their rows and ask for their room; see the module."""
        removed = self.remove(keys, entry=entry)
        self._begin()
        self.compact()
        return removed

    def search(self, queries: Tensor, k: int, *, within: GalleryFilter = EVERYTHING) -> Neighbours:
        """Rank pictures; see the port."""
        state = self._read_state()
        check_question(queries, k=k, stamp=state.encoder, num_pictures=state.num_pictures)
        if k > _MOST_ANSWERS:
            raise GalleryError(f"Milvus gives at most {_MOST_ANSWERS} answers, not {k}")
        num_answers = min(k, state.num_pictures)
        vectors = queries.detach().cpu().float()
        return self._ask(state, vectors, num_answers, condition=_condition_of(within))

    def calibrate(self, calibration: Calibration | None, *, entry: AuditEntry) -> None:
        """Keep how similarities become decisions."""
        kept = None if calibration is None else asdict(calibration)
        self._commit(replace(self._begin(), calibration=kept), entry)

    def note(self, entry: AuditEntry) -> None:
        """Write a line of the audit log."""
        self._commit(self._begin(), entry)

    def audit(self) -> tuple[AuditEntry, ...]:
        """Read the audit log."""
        told = (row["body"]["entry"] for row in self._log_rows(0))
        return tuple(
            AuditEntry(**{**entry, "action": AuditAction(entry["action"])})
            for entry in told
            if entry is not None
        )

    def check(self) -> tuple[str, ...]:
        """Look for damage: norms and checksums of vectors, and how many there are."""
        state = self._read_state()
        faults, count = [], 0
        for row in self._all_rows(state, ("key", "vector", "checksum")):
            count += 1
            vector = np.array(row["vector"], dtype=np.float32)
            if _checksum_of(vector) != row["checksum"]:
                faults.append(f"the vector of picture {row['key']} is not what was added")
            if not abs(float(np.linalg.norm(vector)) - 1) <= NORM_TOLERANCE:
                faults.append(f"the vector of picture {row['key']} is not of unit norm")
        if count != state.num_pictures:
            faults.append(f"{count} pictures are kept, not {state.num_pictures}")
        return tuple(f"{self._place}: {fault}" for fault in faults)

    def compact(self) -> None:
        """Delete rows that count no more and ask Milvus for their room."""
        self._begin()
        with self._errors_in_words() as client:
            if client.has_collection(self._rows):
                client.flush(self._rows)
                client.compact(self._rows)

    def close(self) -> None:
        """Let the client go."""
        if self._client is not None:
            self._client.close()
            self._client = None

    @contextmanager
    def _errors_in_words(self) -> Iterator[MilvusClient]:
        try:
            if self._client is None and self._state.number:
                raise GalleryError(f"{self._place} was closed: open it again")
            yield self._client
        except MilvusException as error:
            raise GalleryError(f"{self._place}: {str(error).strip()}") from error
        except UnicodeEncodeError as error:
            raise GalleryError(f"{self._place} takes Unicode text only: {error}") from error

    def _create_log(self) -> None:
        client = self._client
        if client is None or client.has_collection(self._log):
            return
        schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("number", DataType.INT64, is_primary=True)
        schema.add_field("unused", DataType.FLOAT_VECTOR, dim=2)  # no collection without vectors
        schema.add_field("body", DataType.JSON)
        index = client.prepare_index_params()
        index.add_index("unused", index_type="FLAT", metric_type="IP")
        client.create_collection(
            self._log, schema=schema, index_params=index, consistency_level=CONSISTENCY
        )

    def _create_rows(self, width: int) -> None:
        client = self._client
        if client is None or client.has_collection(self._rows):
            return
        schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("key", DataType.INT64, is_primary=True)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=width)
        for name in _TEXTS:
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
            index_type=self._index,
            metric_type="IP",
            params={} if self.is_exact else walk,
        )
        client.create_collection(
            self._rows, schema=schema, index_params=index, consistency_level=CONSISTENCY
        )

    def _read_state(self) -> _State:
        """Read the log from the row known last on."""
        for row in self._log_rows(self._state.number + 1):
            kept = row["body"]["state"]
            self._state = _State(**{**kept, "gone": tuple(kept["gone"]), "number": row["number"]})
        return self._state

    def _log_rows(self, first: int) -> list[dict[str, Any]]:
        with self._errors_in_words() as client:
            if self._client is None:
                raise GalleryError(f"{self._place} was closed: open it again")
            rows: list[dict[str, Any]] = list(
                client.query(
                    self._log,
                    filter=f"number >= {first}",
                    output_fields=["number", "body"],
                    consistency_level=CONSISTENCY,
                )
            )
        return sorted(rows, key=lambda row: int(row["number"]))

    def _begin(self) -> _State:
        """Delete rows that count no more and those of a change that never became visible."""
        state = self._read_state()
        with self._errors_in_words() as client:
            if not client.has_collection(self._rows):
                return state
            if state.gone:
                client.delete(self._rows, ids=list(state.gone))
            client.delete(self._rows, filter=f"added_in > {state.version}")
        return state

    def _commit(self, state: _State, entry: AuditEntry | None) -> None:
        """Make a change visible by a row of the log."""
        told = None if entry is None else {**asdict(entry), "action": entry.action.value}
        row = {
            "number": state.number + 1,
            "unused": [0.0, 0.0],
            "body": {"state": asdict(state), "entry": told},
        }
        with self._errors_in_words() as client:
            client.insert(self._log, [row])
            client.flush(self._log)

    def _all_rows(
        self, state: _State, fields: Sequence[str], *, condition: str = ""
    ) -> Iterator[dict[str, Any]]:
        """Read rows that count, keys in ranges: answers of Milvus are limited and in no order."""
        for start in range(1, state.next_key, _ROWS_AT_ONCE):
            within = f"key >= {start} and key < {start + _ROWS_AT_ONCE}"
            yield from self._query(f"{within} and {state.is_visible}{condition}", fields)

    def _rows_of(
        self, state: _State, keys: Sequence[int], fields: Sequence[str], *, condition: str = ""
    ) -> Iterator[dict[str, Any]]:
        for start in range(0, len(keys), _KEYS_AT_ONCE):
            part = list(keys[start : start + _KEYS_AT_ONCE])
            yield from self._query(f"key in {part} and {state.is_visible}{condition}", fields)

    def _query(self, condition: str, fields: Sequence[str]) -> list[dict[str, Any]]:
        with self._errors_in_words() as client:
            if not client.has_collection(self._rows):
                return []
            return list(
                client.query(
                    self._rows,
                    filter=condition,
                    output_fields=list(fields),
                    consistency_level=CONSISTENCY,
                )
            )

    def _named(self, state: _State, pictures: Sequence[NewPicture]) -> list[int]:
        """Find the keys of pictures of the same sources and names."""
        names = {(picture.source, picture.image) for picture in pictures}
        images = sorted({image for _, image in names})
        found: list[int] = []
        for start in range(0, len(images), _KEYS_AT_ONCE):
            part = _listed(images[start : start + _KEYS_AT_ONCE])
            rows = self._query(
                f"image in {part} and {state.is_visible}", ("key", "source", "image")
            )
            found.extend(row["key"] for row in rows if (row["source"], row["image"]) in names)
        return found

    def _ask(
        self,
        state: _State,
        queries: Tensor,
        num_answers: int,
        *,
        condition: str = "",
        expansion: int = _EXPANSION,
    ) -> Neighbours:
        """Search; more than is wanted, so that equally near ones are ordered by key."""
        limit = min(_MOST_ANSWERS, state.num_pictures, 2 * num_answers + 16)
        indices = torch.full((len(queries), num_answers), -1)  # (Q, K)
        found = torch.full((len(queries), num_answers), torch.inf)  # (Q, K)
        effort = {} if self.is_exact else {"ef": max(expansion, limit)}
        for start in range(0, len(queries), _QUERIES_AT_ONCE):
            with self._errors_in_words() as client:
                answers = client.search(
                    self._rows,
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

    def _measure(self, state: _State) -> float:
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


def _is_missing_file(address: str) -> bool:
    """Tell an address of Milvus Lite that names nothing yet."""
    return "://" not in address and not Path(address).exists()


def _row(
    picture: NewPicture, *, key: int, vector: np.ndarray, at: str, version: int
) -> dict[str, Any]:
    thumbnail = None if picture.thumbnail is None else base64.b64encode(picture.thumbnail).decode()
    if thumbnail is not None and len(thumbnail) > _LONGEST_THUMBNAIL:
        raise GalleryError(f"the thumbnail of {picture.image} is too large for Milvus: keep none")
    return {
        "key": key,
        "vector": vector.tolist(),
        "image": picture.image,
        "source": picture.source,
        "content": picture.content,
        "label": picture.label,
        "camera": picture.camera,
        "added_at": at,
        "expires_at": picture.expires_at,
        "thumbnail": thumbnail,
        "added_in": version,
        "checksum": _checksum_of(vector),
    }


def _ranked(hits: Iterable[Mapping[str, Any]]) -> list[tuple[float, int]]:
    """Order answers by distance as float32, then by key."""
    found = [
        (float(np.float32(min(2.0, max(0.0, 1 - hit["distance"])))), int(hit["key"]))
        for hit in hits
    ]
    return sorted(found)


def _condition_of(within: GalleryFilter) -> str:
    """Put a filter as Milvus wants it, to stand behind another condition."""
    conditions = []
    if within.cameras is not None:
        conditions.append(f"camera in {_listed(within.cameras)}")
    if within.without_cameras:
        conditions.append(f"(camera is null or camera not in {_listed(within.without_cameras)})")
    if within.labels is not None:
        conditions.append(f"label in {_listed(within.labels)}")
    if within.added_from is not None:
        conditions.append(f"added_at >= {_quoted(within.added_from)}")
    if within.added_until is not None:
        conditions.append(f"added_at < {_quoted(within.added_until)}")
    return "".join(f" and {condition}" for condition in conditions)


def _listed(texts: Iterable[str]) -> str:
    return "[" + ", ".join(map(_quoted, sorted(texts))) + "]"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _checksum_of(vector: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(vector, dtype="<f4").tobytes())
