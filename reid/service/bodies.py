"""Requests' bodies, read within limits."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from starlette.requests import ClientDisconnect, Request

from reid.service.forms import Part, split_form
from reid.service.limits import Limits
from reid.service.refusals import Refusal, busy

FIELDS = ("label", "camera")
"""What a form may say beside its pictures."""

_NUM_FIELDS = 8
"""So many parts beside the pictures are read, to name one that there is not."""

_CLOSE = {"Connection": "close"}
FORM = "multipart/form-data"


@dataclass(frozen=True, slots=True)
class Sent:
    """What a request brought."""

    pictures: tuple[Part, ...]
    fields: dict[str, str]


class HeldBytes:
    """How much of all bodies together is in memory."""

    def __init__(self, limits: Limits) -> None:
        """Start with nothing."""
        self._limits = limits
        self._num_bytes = 0

    @property
    def num_bytes(self) -> int:
        """Bytes held now."""
        return self._num_bytes

    @contextmanager
    def share(self) -> Iterator["Share"]:
        """Give a request its share, and take it back at the end of the block."""
        share = Share(self)
        try:
            yield share
        finally:
            self._num_bytes -= share.num_bytes

    def take(self, count: int) -> None:
        """Count bytes in.

        Raises:
            Refusal: There is no room.
        """
        if self._num_bytes + count > self._limits.held_bytes:
            raise busy(
                "too many bytes are under way already: come back in a moment",
                retry_seconds=self._limits.retry_seconds,
            )
        self._num_bytes += count


class Share:
    """What one request holds."""

    def __init__(self, held: HeldBytes) -> None:
        """Start with nothing."""
        self._held = held
        self.num_bytes = 0

    def take(self, count: int) -> None:
        """Count bytes in.

        Raises:
            Refusal: There is no room.
        """
        self._held.take(count)
        self.num_bytes += count


async def read_sent(request: Request, share: Share, *, limits: Limits) -> Sent:
    """Read pictures and fields of a request: a form, or one picture as the whole body.

    Raises:
        Refusal: It is of another type, too large, too slow, or holds no picture or too many.
    """
    content_type = request.headers.get("content-type", "")
    kind = content_type.partition(";")[0].strip().lower()
    if kind != FORM and not kind.startswith("image/"):
        raise Refusal(415, f"cannot read {kind or 'a body without a type'}: send {FORM} or image/*")
    body = await _read(request, share, limits=limits)
    if kind != FORM:
        return _checked([Part("picture", "picture", body)], limits=limits)
    return _checked(
        split_form(content_type, body, max_parts=limits.pictures + _NUM_FIELDS), limits=limits
    )


def as_utf8(content: bytes, *, what: str) -> str:
    """Read text as it was meant: letters put in for unknown bytes would make two names one.

    Raises:
        Refusal: It is written otherwise.
    """
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise Refusal(400, f"{what} cannot be read: send text as UTF-8") from None


def said_twice(name: str, *, where: str) -> Refusal:
    """Refuse what leaves open which of two wishes counts."""
    return Refusal(422, f"{name} is said more than once {where}: say it once")


async def _read(request: Request, share: Share, *, limits: Limits) -> bytes:
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > limits.body_bytes:
        raise _too_large(limits)
    chunks: list[bytes] = []
    num_bytes = 0
    try:
        async with asyncio.timeout(limits.body_seconds):
            async for chunk in request.stream():
                # Counted as they come: a chunked body declares no length.
                num_bytes += len(chunk)
                if num_bytes > limits.body_bytes:
                    raise _too_large(limits)
                share.take(len(chunk))
                chunks.append(chunk)
    except TimeoutError:
        raise Refusal(
            408,
            f"the body took longer than {limits.body_seconds:g} s: send smaller pictures",
            headers=_CLOSE,
        ) from None
    except ClientDisconnect:
        raise Refusal(400, "the body is cut off: send it again") from None
    return b"".join(chunks)


def _too_large(limits: Limits) -> Refusal:
    return Refusal(
        413,
        f"the body has more than {limits.body_bytes:,} bytes: send fewer or smaller pictures",
        headers=_CLOSE,
    )


def _checked(parts: list[Part], *, limits: Limits) -> Sent:
    pictures = tuple(part for part in parts if part.filename is not None)
    if not pictures:
        raise Refusal(422, "no picture was sent: add one as a file, for example picture=@query.jpg")
    if len(pictures) > limits.pictures:
        raise Refusal(
            413,
            f"{len(pictures)} pictures are more than the {limits.pictures} of a request: send "
            "fewer at once",
        )
    fields: dict[str, str] = {}
    for part in parts:
        if part.filename is not None:
            continue
        if part.name in fields:
            raise said_twice(part.name, where="in the form")
        fields[part.name] = as_utf8(part.content, what=f"the form's {part.name}").strip()
    if unknown := sorted(set(fields) - set(FIELDS)):
        raise Refusal(
            422,
            f"the form has no field {unknown[0]!r}, but {' and '.join(FIELDS)}: anything else is "
            "said in the address; see /docs",
        )
    return Sent(pictures, fields)
