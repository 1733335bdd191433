"""A gallery that lives as long as the process.

Letters: G pictures kept, N pictures added, Q queries, D width, K answers.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Unpack

import torch
from torch import Tensor

from reid.adapters.galleries.checks import check_additions, check_question, require_kept
from reid.domain.ordering import distances, rank
from reid.domain.values.galleries import (
    EVERYTHING,
    AuditEntry,
    Calibration,
    EncoderStamp,
    GalleryDescription,
    GalleryFilter,
    KeptPicture,
    NewPicture,
    PictureLookup,
    admitted_values,
    has_expired,
    with_calibrations,
)
from reid.domain.values.ranking import Neighbours
from reid.ports.vector_index import VectorIndex

_QUERY_CHUNK = 256
"""Queries compared at once where a filter leaves the index out."""


@dataclass(frozen=True, slots=True)
class _State:
    """Everything kept; replaced as a whole."""

    stamp: EncoderStamp | None = None
    pictures: Mapping[int, KeptPicture] = field(default_factory=dict)
    """By key, ascending."""

    vectors: Tensor = field(default_factory=lambda: torch.empty((0, 0)))
    """(G, D) in the order of the keys."""

    thumbnails: Mapping[int, bytes] = field(default_factory=dict)
    calibrations: tuple[Calibration, ...] = ()
    version: int = 0
    next_key: int = 1


class MemoryGallery:
    """Keeps nothing beyond the process."""

    def __init__(self, *, create_index: Callable[[], VectorIndex], place: str = "memory") -> None:
        """Start empty.

        Args:
            create_index: Makes the index that searches without a filter.
            place: What to call it in messages.
        """
        self._create_index = create_index
        self._place = place
        self._state = _State()
        self._audit: list[AuditEntry] = []
        self._index: VectorIndex | None = None

    @property
    def place(self) -> str:
        """As given."""
        return self._place

    @property
    def is_exact(self) -> bool:
        """As the index."""
        return self._require_index().is_exact

    @property
    def recall(self) -> float:
        """As the index, which is built where needed."""
        return self._require_index().recall

    @property
    def beyond_erasing(self) -> None:
        """Nothing is kept beside the pictures."""
        return None

    def describe(self) -> GalleryDescription:
        """Count what is kept."""
        state = self._state
        return GalleryDescription(
            stamp=state.stamp,
            num_pictures=len(state.pictures),
            calibrations=state.calibrations,
            version=state.version,
        )

    def pictures(self, **wanted: Unpack[PictureLookup]) -> tuple[KeptPicture, ...]:
        """List pictures; see the port."""
        kept, keys = self._state.pictures, wanted.get("keys")
        looked_at = kept if keys is None else sorted(set(keys) & kept.keys())
        among = {name: set(values) for name, values in admitted_values(wanted).items()}
        expired_at = wanted.get("expired_at")
        return tuple(
            picture
            for picture in map(kept.__getitem__, looked_at)
            if all(getattr(picture, name) in values for name, values in among.items())
            and (expired_at is None or has_expired(picture, at=expired_at))
        )

    def page(self, *, after: int, limit: int) -> tuple[KeptPicture, ...]:
        """List the next pictures; see the port."""
        found = (picture for key, picture in self._state.pictures.items() if key > after)
        return tuple(islice(found, limit))

    def vectors(self, keys: Sequence[int]) -> Tensor:
        """Look up vectors; see the port."""
        rows = {key: row for row, key in enumerate(self._state.pictures)}
        require_kept(keys, rows, place=self._place)
        return self._state.vectors[[rows[key] for key in keys]]

    def thumbnail(self, key: int) -> bytes | None:
        """Look up a thumbnail."""
        return self._state.thumbnails.get(key)

    def without_thumbnail(self, keys: Sequence[int]) -> frozenset[int]:
        """Say which have none."""
        state = self._state
        return frozenset(keys) & state.pictures.keys() - state.thumbnails.keys()

    def add(
        self,
        pictures: Sequence[NewPicture],
        vectors: Tensor,
        *,
        stamp: EncoderStamp,
        entry: AuditEntry,
    ) -> tuple[int, ...]:
        """Keep pictures; see the port."""
        state = self._state
        check_additions(pictures, vectors, stamp=stamp, kept=state.stamp, place=self._place)
        names = {(picture.source, picture.image) for picture in pictures}
        state = _without(
            state, {key for key, p in state.pictures.items() if (p.source, p.image) in names}
        )
        keys = tuple(range(state.next_key, state.next_key + len(pictures)))
        added = {
            key: KeptPicture.of(picture, key=key, added_at=entry.at)
            for key, picture in zip(keys, pictures, strict=True)
        }
        thumbnails = {
            key: picture.thumbnail
            for key, picture in zip(keys, pictures, strict=True)
            if picture.thumbnail is not None
        }
        kept = state.vectors if len(state.vectors) else vectors[:0]
        self._replace(
            replace(
                state,
                stamp=state.stamp or stamp,
                pictures={**state.pictures, **added},
                vectors=torch.cat([kept, vectors.detach().cpu()]),
                thumbnails={**state.thumbnails, **thumbnails},
                next_key=state.next_key + len(pictures),
            ),
            entry=entry,
        )
        return keys

    def remove(self, keys: Sequence[int], *, entry: AuditEntry) -> int:
        """Stop keeping pictures; see the port."""
        found = set(keys) & self._state.pictures.keys()
        self._replace(_without(self._state, found), entry=entry)
        return len(found)

    def erase(self, keys: Sequence[int], *, entry: AuditEntry) -> int:
        """Remove pictures; nothing is kept beside them here."""
        return self.remove(keys, entry=entry)

    def search(self, queries: Tensor, k: int, *, within: GalleryFilter = EVERYTHING) -> Neighbours:
        """Rank pictures; see the port."""
        state = self._state
        check_question(queries, k=k, stamp=state.stamp, num_pictures=len(state.pictures))
        keys = torch.tensor(list(state.pictures))  # (G,)
        if within == EVERYTHING:
            found = self._require_index().search(queries, k)
            return Neighbours(indices=_keys_of(found.indices, keys=keys), distances=found.distances)
        admitted = [within.admits(picture) for picture in state.pictures.values()]
        return _search_among(
            queries, k=k, keys=keys, vectors=state.vectors, is_admitted=torch.tensor(admitted)
        )

    def calibrate(self, calibrations: Sequence[Calibration], *, entry: AuditEntry) -> None:
        """Keep how similarities become decisions."""
        kept = with_calibrations(self._state.calibrations, calibrations)
        self._state = replace(self._state, calibrations=kept)
        self._audit.append(entry)

    def note(self, entry: AuditEntry) -> None:
        """Write a line of the audit log."""
        self._audit.append(entry)

    def audit(self) -> tuple[AuditEntry, ...]:
        """Read the audit log."""
        return tuple(self._audit)

    def check(self) -> tuple[str, ...]:
        """Find nothing: there is no disk to be damaged."""
        return ()

    def compact(self) -> None:
        """Drop the index; the next search builds it."""
        self._index = None

    def close(self) -> None:
        """Do nothing."""

    def _replace(self, state: _State, *, entry: AuditEntry) -> None:
        self._state = replace(state, version=state.version + 1)
        self._audit.append(entry)
        self._index = None

    def _require_index(self) -> VectorIndex:
        if self._index is None:
            index = self._create_index()
            if len(self._state.pictures):
                index.build(self._state.vectors)
            self._index = index
        return self._index


def _without(state: _State, keys: Iterable[int]) -> _State:
    gone = set(keys)
    if not gone:
        return state
    rows = [row for row, key in enumerate(state.pictures) if key not in gone]
    return replace(
        state,
        pictures={key: kept for key, kept in state.pictures.items() if key not in gone},
        vectors=state.vectors[rows],
        thumbnails={key: kept for key, kept in state.thumbnails.items() if key not in gone},
    )


def _keys_of(rows: Tensor, *, keys: Tensor) -> Tensor:
    """Turn (Q, K) rows into keys; -1 stays."""
    return torch.where(rows >= 0, keys[rows.clamp(min=0)], -1)


def _search_among(
    queries: Tensor, *, k: int, keys: Tensor, vectors: Tensor, is_admitted: Tensor
) -> Neighbours:
    """Compare with admitted rows only, exactly."""
    among, known = keys[is_admitted], vectors[is_admitted]  # (A,), (A, D)
    num_answers, num_found = min(k, len(keys)), min(k, len(among))
    indices = torch.full((len(queries), num_answers), -1)  # (Q, K)
    found = torch.full((len(queries), num_answers), torch.inf)  # (Q, K)
    for start in range(0, len(queries) if num_found else 0, _QUERY_CHUNK):
        rows = slice(start, start + _QUERY_CHUNK)
        block = distances(queries[rows], known)  # (B, A)
        nearest = rank(block, k=num_found)  # (B, K)
        indices[rows, :num_found] = among[nearest]
        found[rows, :num_found] = block.gather(1, nearest)
    return Neighbours(indices=indices, distances=found)
