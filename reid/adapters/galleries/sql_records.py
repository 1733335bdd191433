"""Records of a gallery in SQL, alike in every database.

Each database translates three things in the statements: names in braces, `:name` for a value, and
`among :name` for one of a list of values. `{own}` is the condition on rows of this gallery.
"""

import json
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from operator import attrgetter
from typing import Any, TypeAlias, Unpack

from reid.adapters.galleries.filters import condition_of
from reid.domain.errors import GalleryError
from reid.domain.values.galleries import (
    AuditAction,
    AuditEntry,
    EncoderFingerprint,
    GalleryDescription,
    GalleryFilter,
    ImageLookup,
    KeptImage,
    NewImage,
    RecordsState,
    admitted_values,
)
from reid.domain.values.open_set import Calibration

FIELDS = tuple(KeptImage.__slots__)
fields_of = attrgetter(*FIELDS)
COLUMNS = ", ".join(FIELDS)  # the columns of a kept image, in the order of its fields
Value: TypeAlias = int | str | Sequence[int] | Sequence[str]

_PERHAPS_NONE = {"camera", "expires_at"}


class DamagedRecordError(ValueError):
    """A record holds what this program never writes; the message says what."""


def damaged(place: str, reason: object) -> GalleryError:
    """Return the error about a gallery whose records are not what was written."""
    return GalleryError(
        f"{place} is damaged ({reason}): bring it back from a copy, or build it again"
    )


class RecordsTransaction(ABC):
    """A transaction of a gallery's records: the reader, and within `writing` the writer."""

    _state: RecordsState | None = None
    """As read or written last in this transaction, which sees one state."""

    @abstractmethod
    def run(self, text: str, **values: Value) -> Iterable[Any]:
        """Execute a statement with its values; return its rows."""

    @abstractmethod
    def _state_row(self) -> Sequence[Any]:
        """Read what `fields_of_state` wrote."""

    @abstractmethod
    def _write_state(self, fields: Mapping[str, int | str]) -> None: ...

    @abstractmethod
    def _insert(
        self, kept: Sequence[KeptImage], images: Sequence[NewImage], checksums: Sequence[int]
    ) -> None: ...

    @abstractmethod
    def _delete(self, condition: str, **values: Value) -> int:
        """Delete images, and list their keys as removed; return how many there were."""

    @abstractmethod
    def note(self, entry: AuditEntry) -> None:
        """Append a line to the audit log."""

    def state(self) -> RecordsState:
        """Read the state."""
        if self._state is None:
            self._state = _parsed_state(self._state_row())
        return self._state

    def images(self, **wanted: Unpack[ImageLookup]) -> tuple[KeptImage, ...]:
        """List images by ascending key; see the port."""
        values: dict[str, Value] = dict(admitted_values(wanted))
        conditions = [f"{name} among :{name}" for name in values]
        if (expired_at := wanted.get("expired_at")) is not None:
            conditions.append("expires_at <= :expired_at")
            values["expired_at"] = expired_at
        return self._images(f"{' and '.join(conditions) or 'true'} order by key", **values)

    def page(self, *, after: int, limit: int) -> tuple[KeptImage, ...]:
        """List the next images."""
        return self._images("key > :after order by key limit :limit", after=after, limit=limit)

    def admitted(self, keys: Sequence[int], *, within: GalleryFilter) -> frozenset[int]:
        """Choose the keys that are kept and admitted."""
        condition, values = condition_of(within)
        return frozenset(self._keys(f"key among :keys and {condition}", keys=keys, **values))

    def all_admitted(self, *, within: GalleryFilter) -> Sequence[int]:
        """List the keys that a filter admits."""
        condition, values = condition_of(within)
        return self._keys(f"{condition} order by key", **values)

    def checksums(self, keys: Sequence[int]) -> Mapping[int, int]:
        """Look up the checksums of vectors."""
        text = "select key, vector_checksum from {images} where {own} and key among :keys"
        return dict(self.run(text, keys=keys))

    def thumbnail(self, key: int) -> bytes | None:
        """Look up a thumbnail."""
        found = self.run("select {thumbnail} from {images} where {own} and key = :key", key=key)
        return next((jpeg for (jpeg,) in found), None)

    def without_thumbnail(self, keys: Sequence[int]) -> frozenset[int]:
        """Choose the keys without a thumbnail."""
        return frozenset(self._keys("key among :keys and not {has_thumbnail}", keys=keys))

    def removed(self) -> tuple[int, ...]:
        """List the keys of removed images."""
        found = self.run("select key from {removed} where {own} order by key")
        return tuple(key for (key,) in found)

    def audit(self) -> tuple[AuditEntry, ...]:
        """Read the audit log."""
        found = self.run(
            "select at, action, subject, num_images from {audit} where {own} order by number"
        )
        try:
            return tuple(
                AuditEntry(at=at, action=AuditAction(action), subject=subject, num_images=count)
                for at, action, subject, count in found
            )
        except ValueError as error:
            raise DamagedRecordError(f"a line of its audit log cannot be read: {error}") from error

    def faults(self) -> Iterator[str]:
        """Compare counts and keys."""
        state = self.state()
        ((counted, last_key, num_removed),) = self.run(
            "select (select count(*) from {images} where {own}), "
            "(select coalesce(max(key), 0) from {images} where {own}), "
            "(select count(*) from {removed} where {own})"
        )
        if counted != state.description.num_images or num_removed != state.num_removed:
            yield f"{counted} images are recorded, {state.description.num_images} were counted"
        if last_key > state.last_key:
            yield f"image {last_key} is recorded, keys up to {state.last_key} were given"

    def add(
        self,
        images: Sequence[NewImage],
        *,
        checksums: Sequence[int],
        fingerprint: EncoderFingerprint,
        at: str,
    ) -> tuple[KeptImage, ...]:
        """Keep records; see the port."""
        names = defaultdict(list)
        for image in images:
            names[image.source].append(image.name)
        same = "source = :source and name among :names"
        num_replaced = sum(self._delete(same, source=one, names=names[one]) for one in names)
        kept = tuple(
            KeptImage.of(image, key=key, added_at=at)
            for key, image in enumerate(images, self.state().last_key + 1)
        )
        self._insert(kept, images, checksums)
        self._count(added=len(kept), removed=num_replaced, fingerprint=fingerprint)
        return kept

    def remove(self, keys: Sequence[int], *, erases: bool) -> int:
        """Delete records, thumbnails included; see the port."""
        count = self._delete("key among :keys", keys=keys)
        self._count(removed=count, erases=erases)
        return count

    def keep_vectors_state(self, state: str) -> None:
        """Keep how the vectors are found."""
        self._keep(replace(self.state(), vectors=state))

    def forget_removed(self) -> None:
        """Forget the keys of removed images."""
        self.run("delete from {removed} where {own}")
        self._keep(replace(self.state(), num_removed=0))

    def end_erasure(self) -> None:
        """Note that no erasure is pending."""
        self._keep(replace(self.state(), is_erasing=False))

    def calibrate(self, calibrations: Sequence[Calibration]) -> None:
        """Keep calibrations."""
        described = replace(self.state().description, calibrations=tuple(calibrations))
        self._keep(replace(self.state(), description=described))

    def _images(self, rest: str, **values: Value) -> tuple[KeptImage, ...]:
        text = f"select {COLUMNS} from {{images}} where {{own}} and {rest}"
        return tuple(map(image_of, self.run(text, **values)))

    def _keys(self, rest: str, **values: Value) -> list[int]:
        text = f"select key from {{images}} where {{own}} and {rest}"
        return [key for (key,) in self.run(text, **values)]

    def _count(
        self,
        *,
        added: int = 0,
        removed: int = 0,
        erases: bool = False,
        fingerprint: EncoderFingerprint | None = None,
    ) -> None:
        state = self.state()
        known = state.description
        described = replace(
            known,
            fingerprint=known.fingerprint or fingerprint,
            num_images=known.num_images + added - removed,
            version=known.version + 1,
        )
        self._keep(
            replace(
                state,
                description=described,
                last_key=state.last_key + added,
                num_removed=state.num_removed + removed,
                is_erasing=state.is_erasing or erases,
            )
        )

    def _keep(self, state: RecordsState) -> None:
        if state != self.state():
            self._write_state(fields_of_state(state))
            self._state = state


def image_of(row: Sequence[Any]) -> KeptImage:
    """Read a row of `COLUMNS`; raise a DamagedRecordError where a type is not what was written."""
    found = dict(zip(FIELDS, row, strict=True))
    for name, value in found.items():
        wanted = int if name == "key" else str
        if not isinstance(value, wanted) and not (value is None and name in _PERHAPS_NONE):
            raise DamagedRecordError(f"{name} of image {row[0]!r} is of another type")
    return KeptImage(**found)


def fields_of_state(state: RecordsState) -> dict[str, int | str]:
    """List the columns of a state and their values, in order."""
    known = state.description
    fingerprint = known.fingerprint
    return {
        "version": known.version,
        "num_images": known.num_images,
        "last_key": state.last_key,
        "num_removed": state.num_removed,
        "is_erasing": int(state.is_erasing),
        "vectors": state.vectors,
        "fingerprint": json.dumps(
            fingerprint and {**asdict(fingerprint), "options": dict(fingerprint.options)}
        ),
        "calibrations": json.dumps([asdict(calibration) for calibration in known.calibrations]),
    }


def _parsed_state(row: Sequence[Any]) -> RecordsState:
    """Read what `fields_of_state` wrote; None stands for no fingerprint, too."""
    version, num_images, last_key, num_removed, is_erasing, vectors, *texts = row
    counts = (version, num_images, last_key, num_removed, is_erasing)
    if not all(isinstance(count, int) and count >= 0 for count in counts):
        raise DamagedRecordError("a count in its state is not a count")
    try:
        fingerprint, calibrations = (json.loads(text or "null") for text in texts)
        return RecordsState(
            description=GalleryDescription(
                fingerprint=None if fingerprint is None else EncoderFingerprint(**fingerprint),
                num_images=num_images,
                calibrations=tuple(Calibration(**calibration) for calibration in calibrations),
                version=version,
            ),
            last_key=last_key,
            num_removed=num_removed,
            is_erasing=bool(is_erasing),
            vectors=vectors,
        )
    except (TypeError, ValueError) as error:
        raise DamagedRecordError(f"its encoder or calibrations cannot be read: {error}") from error
