"""Multipart forms (RFC 7578), split in memory: nothing that a client sends touches the disk."""

from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from reid.service.refusals import Refusal

_MAX_BOUNDARY = 70
"""RFC 2046, section 5.1.1."""


@dataclass(frozen=True, slots=True)
class Part:
    """A field, or a file."""

    name: str
    filename: str | None
    """None where it is a field."""

    content: bytes


def split_form(content_type: str, body: bytes, *, max_parts: int) -> list[Part]:
    """Split a form into its parts.

    Args:
        content_type: Of the request; names the boundary.
        body: All of it.
        max_parts: More are refused.

    Raises:
        Refusal: It is no such form, is cut off, or has too many parts.
    """
    collector = _Collector(max_parts=max_parts)
    parser = MultipartParser(
        _boundary(content_type),
        {
            "on_part_begin": collector.begin_part,
            "on_header_field": collector.take_header_name,
            "on_header_value": collector.take_header_value,
            "on_header_end": collector.end_header,
            "on_headers_finished": collector.end_headers,
            "on_part_data": collector.take_content,
            "on_part_end": collector.end_part,
            "on_end": collector.end,
        },
    )
    try:
        parser.write(body)
    except FormParserError as error:
        raise Refusal(400, f"the form makes no sense ({error}): send multipart/form-data") from None
    if not collector.is_whole:
        raise Refusal(400, "the form is cut off: its last boundary is missing")
    return collector.parts


def _boundary(content_type: str) -> bytes:
    boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
    if not 0 < len(boundary) <= _MAX_BOUNDARY:
        raise Refusal(400, "the content type names no boundary: let the client set it")
    return boundary


@dataclass(slots=True)
class _Collector:
    """Puts together what the parser finds, piece by piece."""

    max_parts: int
    parts: list[Part] = field(default_factory=list)
    is_whole: bool = False
    _num_begun: int = 0
    _header_name: bytearray = field(default_factory=bytearray)
    _header_value: bytearray = field(default_factory=bytearray)
    _disposition: bytes = b""
    _content: bytearray = field(default_factory=bytearray)

    def begin_part(self) -> None:
        self._num_begun += 1
        if self._num_begun > self.max_parts:
            raise Refusal(413, f"the form has more than {self.max_parts} parts: send fewer at once")
        self._disposition, self._content = b"", bytearray()

    def take_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def take_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def end_header(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition = bytes(self._header_value)
        self._header_name, self._header_value = bytearray(), bytearray()

    def end_headers(self) -> None:
        if b"name" not in parse_options_header(self._disposition)[1]:
            raise Refusal(400, "a part of the form has no name: send multipart/form-data")

    def take_content(self, data: bytes, start: int, end: int) -> None:
        self._content += data[start:end]

    def end_part(self) -> None:
        options = parse_options_header(self._disposition)[1]
        name, filename = options[b"name"], options.get(b"filename")
        self.parts.append(
            Part(_text(name), None if filename is None else _text(filename), bytes(self._content))
        )

    def end(self) -> None:
        self.is_whole = True


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")
