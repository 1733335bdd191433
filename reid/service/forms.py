"""Multipart forms (RFC 7578), split in memory: nothing that a client sends touches the disk."""

from dataclasses import dataclass
from email.message import Message
from email.parser import BytesHeaderParser

from reid.service.refusals import Refusal

_MAX_HEADER_BYTES = 4096
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
    delimiter = b"\r\n--" + _boundary(content_type)
    head, *parts = (b"\r\n" + body).split(delimiter, max_parts + 2)
    if head.strip(b"\r\n"):
        raise Refusal(400, "the form does not begin with its boundary: send multipart/form-data")
    if not parts or not parts[-1].startswith(b"--"):
        if len(parts) > max_parts:
            raise Refusal(413, f"the form has more than {max_parts} parts: send fewer at once")
        raise Refusal(400, "the form is cut off: its last boundary is missing")
    return [_part(part) for part in parts[:-1]]


def _boundary(content_type: str) -> bytes:
    header = Message()
    header["content-type"] = content_type
    boundary = header.get_param("boundary")
    if not isinstance(boundary, str) or not 0 < len(boundary) <= _MAX_BOUNDARY:
        raise Refusal(400, "the content type names no boundary: let the client set it")
    return boundary.encode("latin-1", "replace")


def _part(text: bytes) -> Part:
    padding, _, rest = text.partition(b"\r\n")
    head, found, content = rest.partition(b"\r\n\r\n")
    if padding.strip(b" \t") or not found or len(head) > _MAX_HEADER_BYTES:
        raise Refusal(400, "a part of the form has no proper header: send multipart/form-data")
    header = BytesHeaderParser().parsebytes(head)
    name = header.get_param("name", header="content-disposition")
    filename = header.get_param("filename", header="content-disposition")
    if not isinstance(name, str):
        raise Refusal(400, "a part of the form has no name: send multipart/form-data")
    return Part(name, filename if isinstance(filename, str) else None, content)
