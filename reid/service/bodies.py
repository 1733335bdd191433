"""Request bodies, read within limits; nothing that a client sends reaches the disk."""

import asyncio
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from reid.service.http_errors import HttpError, busy
from reid.settings.tasks import ServiceSettings

FORM = "multipart/form-data"
FIELDS = ("label", "camera")  # text fields of a form
_NUM_FIELDS = 8  # parts that are read besides the images, so that an error can name an unknown one
_MIB = 2**20
_CLOSE = {"Connection": "close"}
_RAW = "latin-1"
"""Starlette's fallback charset; as a form's charset it preserves every byte for `as_utf8`."""


@dataclass(frozen=True, slots=True)
class Sent:
    """Content of a request."""

    images: tuple[tuple[str, bytes], ...]  # names, possibly empty, and contents
    fields: dict[str, str]


class Bodies:
    """Reads bodies, and counts the bytes of all that are in memory."""

    def __init__(self, limits: ServiceSettings) -> None:
        """Start at zero."""
        self._limits = limits
        self.num_bytes = 0  # bytes held now

    @asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[Sent]:
        """Read a request's images and fields: a form, or one image as the whole body.

        Its bytes count until the block ends.

        Raises:
            HttpError: It has another type, is too large or too slow, or has no image or too many,
                or other bodies take up the memory.
        """
        share = 0

        def take(count: int) -> None:
            nonlocal share
            if self.num_bytes + count > self._limits.held_mib * _MIB:
                raise busy("too many bytes are being received already: try again in a moment")
            self.num_bytes += count
            share += count

        try:
            yield await _read(request, take, self._limits)
        finally:
            self.num_bytes -= share


def as_utf8(content: bytes, *, what: str) -> str:
    """Decode strictly: replacement characters would make different names equal.

    Raises:
        HttpError: It is not UTF-8.
    """
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise HttpError(400, f"{what} cannot be read: send text as UTF-8") from None


def said_twice(name: str, *, where: str) -> HttpError:
    """Refuse a value that is given more than once."""
    return HttpError(422, f"{name} is given more than once {where}: give it once")


async def _read(request: Request, take: Callable[[int], None], limits: ServiceSettings) -> Sent:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != FORM and not kind.startswith("image/"):
        raise HttpError(
            415, f"cannot read {kind or 'a body without a type'}: send {FORM} or image/*"
        )
    body = _bounded(request, take, most_bytes=limits.body_mib * _MIB)
    try:
        async with asyncio.timeout(limits.body_seconds):
            if kind == FORM:
                return await _read_form(request.headers, body, limits)
            return Sent((("image", b"".join([chunk async for chunk in body])),), {})
    except TimeoutError:
        raise HttpError(
            408,
            f"the body took longer than {limits.body_seconds:g} s: send smaller images",
            headers=_CLOSE,
        ) from None
    except ClientDisconnect:
        raise HttpError(400, "the body is cut off: send it again") from None


async def _bounded(
    request: Request, take: Callable[[int], None], *, most_bytes: int
) -> AsyncGenerator[bytes, None]:
    too_large = HttpError(
        413,
        f"the body has more than {most_bytes:,} bytes: send fewer or smaller images",
        headers=_CLOSE,
    )
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > most_bytes:
        raise too_large
    num_bytes = 0
    async for chunk in request.stream():
        # Counted on arrival: a chunked body declares no length.
        num_bytes += len(chunk)
        if num_bytes > most_bytes:
            raise too_large
        take(len(chunk))
        yield chunk


class _FormParser(MultiPartParser):
    """Refuses forms with too many parts, and notices the last boundary."""

    spool_max_size = sys.maxsize
    max_parts: int
    is_whole = False

    def on_part_begin(self) -> None:
        super().on_part_begin()
        if len(self.items) >= self.max_parts:
            raise HttpError(
                413, f"the form has more than {self.max_parts} parts: send fewer at once"
            )

    def on_end(self) -> None:
        self.is_whole = True


async def _read_form(
    headers: Headers, body: AsyncGenerator[bytes, None], limits: ServiceSettings
) -> Sent:
    async def whole() -> AsyncGenerator[bytes, None]:
        async for chunk in body:
            yield chunk
        # Starlette ignores parts without an end, and closes their files if reading fails.
        if not parser.is_whole:
            raise HttpError(400, "the form is cut off: its last boundary is missing")

    kind = f"{headers['content-type']}; charset={_RAW}"
    most_bytes = limits.body_mib * _MIB
    parser = _FormParser(Headers({"content-type": kind}), whole(), max_part_size=most_bytes)
    parser.max_parts = limits.images + _NUM_FIELDS
    try:
        form = await parser.parse()
    except MultiPartException as error:
        problem = error.message.rstrip(".")
        raise HttpError(400, f"the form is malformed ({problem}): send {FORM}") from None
    try:
        return _checked(form, limits)
    finally:
        await form.close()


def _checked(form: FormData, limits: ServiceSettings) -> Sent:
    images: list[tuple[str, bytes]] = []
    fields: dict[str, str] = {}
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            filename = (value.filename or "").encode(_RAW).decode("utf-8", "replace")
            images.append((filename, value.file.read()))
        elif name in fields:
            raise said_twice(name, where="in the form")
        else:
            fields[name] = as_utf8(value.encode(_RAW), what=f"the form's {name}").strip()
    if not images:
        raise HttpError(422, "no image was sent: add one as a file, for example image=@query.jpg")
    if len(images) > limits.images:
        raise HttpError(
            413,
            f"{len(images)} images are more than the {limits.images} of a request: send "
            "fewer at once",
        )
    if unknown := sorted(set(fields) - set(FIELDS)):
        raise HttpError(
            422,
            f"the form has no field {unknown[0]!r}, but {' and '.join(FIELDS)}: anything else "
            "belongs in the address; see /docs",
        )
    return Sent(tuple(images), fields)
