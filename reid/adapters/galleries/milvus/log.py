"""The log of changes of a gallery in Milvus, and who may write it.

A change becomes visible by one row of the log, written last. Rows are numbered 1, 2, 3, ... without
gaps, so that the newest is found by asking which of a few numbers there are, however long the log.

One writer at a time: Milvus has neither locks nor transactions, but what an insert has returned
from, every later query at the level "Strong" finds. Who wants to write inserts a claim (a row of
the log with a negative number) and then looks for others: of two, the one that looks later sees the
other's, so that at most one stays, and who sees another withdraws and tries again. A claim says how
often it was renewed. Of a writer that died it stands still: who has seen it unchanged for a whole
lease, by the own clock, deletes it. A writer writes nothing once three quarters of a lease have
gone by without renewing. What remains is a writer whose last request takes more than a quarter of
a lease to arrive: then the row of its number is another's, which is looked for and said.
"""

import os
import secrets
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

from reid.adapters.galleries.milvus.tables import Collections
from reid.domain.errors import GalleryError
from reid.domain.values.galleries import AuditAction, AuditEntry, EncoderFingerprint

LEASE_SECONDS = 40.0
WAIT_SECONDS = 60.0
"""Longer than a lease, so that who waits outlives a writer that died."""

_FEW_ROWS = 8
_PROBES = 32
_LARGEST_STEP = 2**40
_ROWS_AT_ONCE = 256
_LOST_AFTER, _RENEWED_AFTER = 0.75, 0.25
"""Shares of a lease."""

_PROCESS = f"{socket.gethostname()}, process {os.getpid()}"
_SESSION = secrets.token_hex(8)
"""Of this process: numbers of processes and names of machines come again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What the last row of the log says."""

    number: int = 0
    """Of the row."""

    version: int = 0
    next_key: int = 1
    num_images: int = 0
    fingerprint: Mapping[str, Any] | None = None
    calibration: Sequence[Mapping[str, Any]] | Mapping[str, Any] | None = None
    gone: tuple[int, ...] = ()
    """Keys of rows that may be there still but count no more."""

    @property
    def encoder(self) -> EncoderFingerprint | None:
        """Which encoder made what is kept."""
        return None if self.fingerprint is None else EncoderFingerprint(**self.fingerprint)

    @property
    def is_visible(self) -> str:
        """Condition on rows that count."""
        gone = f" and key not in {list(self.gone)}" if self.gone else ""
        return f"added_in <= {self.version}{gone}"


@dataclass(slots=True, kw_only=True)
class Lease:
    """The right to write, for a while."""

    number: int
    """Of its claim; negative."""

    renewed: int
    """How often."""

    since: float
    """When it was asked for or renewed last, by this machine's clock."""


class ChangeLog:
    """Reads the newest state, and lets one writer after the other write the next."""

    def __init__(
        self, collections: Collections, *, lease_seconds: float, wait_seconds: float
    ) -> None:
        """Keep the parts; nothing is read yet.

        Args:
            collections: Of the gallery.
            lease_seconds: After which a writer that shows no life is taken for dead.
            wait_seconds: How long to wait for another writer.
        """
        self._collections = collections
        self._lease_seconds = lease_seconds
        self._wait_seconds = wait_seconds
        self._known = State()
        self._seen: dict[int, tuple[int, float]] = {}
        """Of others' claims: how often renewed, and when that was first seen."""

    def newest(self) -> State:
        """Read what the newest row says, at a cost that does not grow with the log."""
        known = self._known
        rows = self._rows(f"number > {known.number}", limit=_FEW_ROWS)
        if len(rows) == _FEW_ROWS:
            rows = self._rows(f"number >= {self._find_newest(known.number)}")
        if rows:
            kept = rows[-1]["body"]["state"]
            number = rows[-1]["number"]
            self._known = State(**{**kept, "gone": tuple(kept["gone"]), "number": number})
        return self._known

    def entries(self) -> Iterator[AuditEntry]:
        """Read the lines of the audit log, oldest first."""
        last = self.newest().number
        for start in range(1, last + 1, _ROWS_AT_ONCE):
            stop = min(start + _ROWS_AT_ONCE, last + 1)
            for row in self._rows(f"number >= {start} and number < {stop}"):
                told = row["body"]["entry"]
                if told is not None:
                    yield AuditEntry(**{**told, "action": AuditAction(told["action"])})

    @contextmanager
    def writing(self) -> Iterator[Lease]:
        """Be the one writer.

        Raises:
            GalleryError: Another writes for too long.
        """
        lease = self._acquire()
        try:
            yield lease
        finally:
            # Where Milvus is gone the claim stays, and runs out: what went wrong is told already.
            with suppress(GalleryError):
                self._withdraw(lease)

    def hold(self, lease: Lease) -> None:
        """Renew the lease where a part of it has passed; to be called between long writes.

        Raises:
            GalleryError: It may have run out, so that another writes by now.
        """
        age = time.monotonic() - lease.since
        if age < _RENEWED_AFTER * self._lease_seconds:
            return
        if age > _LOST_AFTER * self._lease_seconds:
            raise GalleryError(
                f"{self._collections.place} took more than {age:.0f} s for one step, after which "
                "another writer may go on, so that this change was not made: try again, with "
                "fewer images at once"
            )
        now = time.monotonic()
        lease.renewed, lease.since = lease.renewed + 1, now
        self._put(lease)

    def commit(self, state: State, entry: AuditEntry | None, *, lease: Lease) -> State:
        """Make a change visible by a row of the log.

        Args:
            state: From now on; its number is that of the state before.
            entry: Line of the audit log.
            lease: Of the writer.

        Returns:
            The state with its number.

        Raises:
            GalleryError: The lease may have run out, or another has written at the same time.
        """
        self.hold(lease)
        written = replace(state, number=state.number + 1)
        told = None if entry is None else {**asdict(entry), "action": entry.action.value}
        body = {"state": asdict(written), "entry": told, "by": lease.number}
        with self._collections.client() as client:
            client.insert(self._collections.log, [_row(written.number, body)])
        found = self._rows(f"number == {written.number}")
        if [row["body"].get("by") for row in found] != [lease.number]:
            raise GalleryError(
                f"{self._collections.place} was changed by two writers at once, one of which was "
                "away for long: run `reid gallery check`, and repeat what is missing"
            )
        with self._collections.client() as client:
            client.flush(self._collections.log)
        self._known = written
        return written

    def _acquire(self) -> Lease:
        patience = time.monotonic() + self._wait_seconds
        while True:
            others = self._claims()
            if not others:
                lease = self._claim()
                others = [claim for claim in self._claims() if claim["number"] != lease.number]
                if not others:
                    return lease
                self._withdraw(lease)
            if time.monotonic() > patience:
                raise GalleryError(
                    f"{self._collections.place} is being changed by "
                    f"{others[0]['body']['claim']['by']} for more than "
                    f"{self._wait_seconds:g} s: try again later"
                )
            self._clear_dead(others)
            # By chance, so that two that withdrew do not meet again and again.
            time.sleep(0.02 + secrets.randbelow(100) / 1000)

    def _claims(self) -> list[dict[str, Any]]:
        return self._rows("number < 0")

    def _claim(self) -> Lease:
        now = time.monotonic()
        lease = Lease(number=-1 - secrets.randbelow(2**62), renewed=0, since=now)
        self._put(lease)
        return lease

    def _withdraw(self, lease: Lease) -> None:
        with self._collections.client() as client:
            client.delete(self._collections.log, ids=[lease.number])

    def _clear_dead(self, claims: list[dict[str, Any]]) -> None:
        """Delete claims that nobody has renewed for a lease."""
        now = time.monotonic()
        before, self._seen = self._seen, {}
        for row in claims:
            number, claim = row["number"], row["body"]["claim"]
            renewed, since = before.get(number, (claim["renewed"], now))
            if renewed != claim["renewed"]:
                since = now
            self._seen[number] = (claim["renewed"], since)
            # Milvus Lite's file is open in one process at a time, so others' claims are dead ones'.
            is_left = self._collections.is_local and claim["session"] != _SESSION
            if is_left or now - since > self._lease_seconds:
                with self._collections.client() as client:
                    client.delete(self._collections.log, ids=[number])

    def _find_newest(self, known: int) -> int:
        """Find the number of the newest row, above that of one that is known."""
        steps = [2**power for power in range(_LARGEST_STEP.bit_length())]
        low = max(self._existing([known + step for step in steps]), default=known)
        high = known + 2 * max(1, low - known)
        while high - low > 1:
            stride = max(1, (high - low) // _PROBES)
            low = max(self._existing(range(low + stride, high, stride)), default=low)
            high = min(high, low + stride)
        return low

    def _existing(self, numbers: "list[int] | range") -> list[int]:
        asked = f"number in {list(numbers)}"
        rows = self._collections.query(self._collections.log, asked, ("number",))
        return [int(row["number"]) for row in rows]

    def _rows(self, condition: str, **limits: int) -> list[dict[str, Any]]:
        rows = self._collections.query(
            self._collections.log, condition, ("number", "body"), **limits
        )
        return sorted(rows, key=lambda row: int(row["number"]))

    def _put(self, lease: Lease) -> None:
        claim = {"by": _PROCESS, "session": _SESSION, "renewed": lease.renewed}
        with self._collections.client() as client:
            client.upsert(self._collections.log, [_row(lease.number, {"claim": claim})])


def _row(number: int, body: Mapping[str, Any]) -> dict[str, Any]:
    return {"number": number, "unused": [0.0, 0.0], "body": dict(body)}
