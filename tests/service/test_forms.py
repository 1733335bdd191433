"""Forms, split."""

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reid.service.forms import Part, split_form
from reid.service.refusals import Refusal

NAMED = b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n1\r\n'


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=5), st.text("ab \r\n-", max_size=9))
def test_every_part_comes_out_as_a_client_put_it_in(contents: list[bytes], field: str) -> None:
    request = httpx.Request(
        "POST",
        "http://x",
        files=[("picture", (f"{n}.jpg", content)) for n, content in enumerate(contents)],
        data={"label": field},
    )
    parts = split_form(request.headers["Content-Type"], request.read(), max_parts=6)
    assert parts[0] == Part("label", None, field.encode())
    assert parts[1:] == [Part("picture", f"{n}.jpg", content) for n, content in enumerate(contents)]


def test_what_stands_after_the_last_boundary_does_not_count() -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n1\r\n--b--\r\nepilogue'
    assert split_form("multipart/form-data; boundary=b", body, max_parts=1) == [
        Part("x", None, b"1")
    ]


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("multipart/form-data", b"--b--", 400),
        (f"multipart/form-data; boundary={'b' * 71}", b"--b--", 400),
        ("multipart/form-data; boundary=b", b"", 400),
        ("multipart/form-data; boundary=b", b"preamble\r\n--b--", 400),
        ("multipart/form-data; boundary=b", b"--b\r\nno header\r\n--b--", 400),
        ("multipart/form-data; boundary=b", b"--b\r\nX: y\r\n\r\n1\r\n--b--", 400),
        ("multipart/form-data; boundary=b", b"--b\r\n" + b"X" * 5000 + b"\r\n\r\n1\r\n--b--", 400),
        ("multipart/form-data; boundary=b", b"--b\r\nX: y\r\n\r\n1", 400),
        ("multipart/form-data; boundary=b", NAMED * 9 + b"--b--", 413),
    ],
)
def test_what_is_no_form_is_refused(kind: str, body: bytes, status: int) -> None:
    with pytest.raises(Refusal) as refused:
        split_form(kind, body, max_parts=4)
    assert refused.value.status == status
