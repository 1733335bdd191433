"""Forms, read from a request."""

import asyncio
from collections.abc import Iterator, Sequence

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.types import Message

from reid.service.bodies import Bodies, Sent
from reid.service.http_errors import HttpError
from reid.settings.tasks import ServiceSettings

LIMITS = ServiceSettings(body_mib=1, held_mib=2, images=6)
NAMED = b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n1\r\n'
IMAGE = b'--b\r\nContent-Disposition: form-data; name="p"; filename="a"\r\n\r\n1\r\n'


def read(kind: str, chunks: Sequence[bytes], *, bodies: Bodies | None = None) -> Sent:
    coming: Iterator[Message] = iter(
        [
            *({"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks),
            {"type": "http.request", "body": b"", "more_body": False},
        ]
    )

    async def receive() -> Message:
        return next(coming)

    async def reading() -> Sent:
        scope = {"type": "http", "method": "POST", "headers": [(b"content-type", kind.encode())]}
        async with (bodies or Bodies(LIMITS)).read(Request(scope, receive)) as sent:
            return sent

    return asyncio.run(reading())


@given(
    st.lists(st.binary(max_size=200), min_size=1, max_size=5),
    st.text("ab \r\n-\u00fc", max_size=9),
    st.integers(1, 400),
)
def test_every_part_comes_out_as_a_client_put_it_in(
    contents: list[bytes], field: str, size: int
) -> None:
    request = httpx.Request(
        "POST",
        "http://x",
        files=[("image", (f"{n}\u00fc.jpg", content)) for n, content in enumerate(contents)],
        data={"label": field},
    )
    body = request.read()
    chunks = [body[start : start + size] for start in range(0, len(body), size)]
    sent = read(request.headers["Content-Type"], chunks)
    assert sent.fields == {"label": field.strip()}
    assert sent.images == tuple((f"{n}\u00fc.jpg", one) for n, one in enumerate(contents))


def test_what_stands_after_the_last_boundary_does_not_count() -> None:
    sent = read("multipart/form-data; boundary=b", [IMAGE + b"--b--\r\nepilogue"])
    assert sent == Sent((("a", b"1"),), {})


def test_a_charset_of_the_form_s_own_changes_nothing() -> None:
    text = '--b\r\nContent-Disposition: form-data; name="label"\r\n\r\nM\u00fcller\r\n'
    body = IMAGE + text.encode() + b"--b--"
    for kind in ("boundary=b; charset=utf-16", "charset=ascii; boundary=b"):
        assert read(f"multipart/form-data; {kind}", [body]).fields == {"label": "M\u00fcller"}


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("multipart/form-data", b"--b--", 400),
        ("multipart/form-data; boundary=", b"--b--", 400),
        (f"multipart/form-data; boundary={'b' * 71}", b"--b--", 400),
        ("multipart/form-data; boundary=b", b"", 400),
        ("multipart/form-data; boundary=b", b"preamble\r\n--b--", 400),
        ("multipart/form-data; boundary=b", b"--b\r\nno header\r\n--b--", 400),
        ("multipart/form-data; boundary=b", b"--b\r\nX: y\r\n\r\n1\r\n--b--", 400),
        ("multipart/form-data; boundary=b", b"--b\r\n" + b"X" * 5000 + b"\r\n\r\n1\r\n--b--", 400),
        ("multipart/form-data; boundary=b", b"--b\r\nX: y\r\n\r\n1", 400),
        ("multipart/form-data; boundary=b", IMAGE, 400),
        ("multipart/form-data; boundary=b", NAMED * 15 + b"--b--", 413),
        ("multipart/form-data; boundary=b", IMAGE * 7 + b"--b--", 413),
        ("multipart/form-data; boundary=b", NAMED + b"--b--", 422),
        ("image/png", bytes(2**20 + 1), 413),
    ],
)
def test_what_is_no_form_is_refused(kind: str, body: bytes, status: int) -> None:
    with pytest.raises(HttpError) as refused:
        read(kind, [body])
    assert refused.value.status_code == status


def test_bodies_together_hold_no_more_than_is_said() -> None:
    bodies = Bodies(LIMITS)
    assert read("image/png", [bytes(2**20)], bodies=bodies).images
    assert bodies.num_bytes == 0
    bodies.num_bytes = 2**21 - 5000
    with pytest.raises(HttpError, match="being received") as refused:
        read("image/png", [bytes(3000), bytes(3000)], bodies=bodies)
    assert refused.value.status_code == 503
    assert bodies.num_bytes == 2**21 - 5000
