"""The service under kind and unkind clients, in a process of its own, over real sockets."""

import json
import signal
import socket
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from reid.adapters.galleries.filesystem.gallery import open_filesystem_gallery
from reid.adapters.indexes.exact import ExactIndex
from reid.domain.values.galleries import AuditAction
from tests.e2e.program import as_json, run
from tests.e2e.serving import ENCODER, Service, build_gallery, serving
from tests.galleries import entry
from tests.images import png_chunk

TOKEN = "a-token-of-thirty-two-characters"
WITH_TOKEN = {"Authorization": f"Bearer {TOKEN}"}
LIMITS = {
    "service.body_mib": 1,
    "service.held_mib": 8,
    "service.images": 4,
    "service.pixels": 1_000_000,
    "service.header_seconds": 2,
    "service.body_seconds": 3,
    "service.waiting": 64,
}
MEBIBYTE = 2**20


@pytest.fixture(scope="module")
def gallery(people: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_gallery(
        tmp_path_factory.mktemp("galleries") / "known", people / "bounding_box_test"
    )


@pytest.fixture(scope="module")
def queries(people: Path) -> list[Path]:
    return sorted((people / "query").glob("*.jpg"))


@pytest.fixture(scope="module")
def service(gallery: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service")
    (folder / "token").write_text(f"{TOKEN}\n")
    limits = [part for key, value in LIMITS.items() for part in ("--set", f"{key}={value}")]
    with serving(
        gallery, "--token-file", str(folder / "token"), *limits, log=folder / "log"
    ) as running:
        yield running


@pytest.fixture(autouse=True)
def _still_alive(request: pytest.FixtureRequest) -> Iterator[None]:
    """After whatever was done to it, the service answers."""
    yield
    if "service" in request.fixturenames:
        service: Service = request.getfixturevalue("service")
        assert service.call("GET", "/health").json() == {"live": True, "ready": True}


def send(service: Service, *images: bytes, path: str = "/identify", **fields: str) -> Any:
    files = [("image", (f"{n}.jpg", content)) for n, content in enumerate(images)]
    return service.call("POST", path, files=files, data=fields, headers=WITH_TOKEN)


def png_claiming(width: int, height: int) -> bytes:
    """A PNG that says it has so many pixels, and holds 200 black rows of them at most."""
    row = b"\0" * (1 + width * 3)
    rows = zlib.compressobj(9)
    body = b"".join(rows.compress(row) for _ in range(min(height, 200))) + rows.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = (png_chunk(b"IHDR", header), png_chunk(b"IDAT", body), png_chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def talk(service: Service, data: bytes, *, then: Callable[[socket.socket], None]) -> bytes:
    """Speak bytes to the service; return all that it says until it hangs up."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=60) as wire:
        wire.sendall(data)
        then(wire)
        said = b""
        while part := _read(wire):
            said += part
        return said


def _read(wire: socket.socket) -> bytes:
    try:
        return wire.recv(65536)
    except ConnectionResetError:
        return b""


def drip(wire: socket.socket) -> None:
    """Send a byte now and then until the other side has enough."""
    for _ in range(200):
        try:
            wire.sendall(b"x")
        except OSError:
            return
        wire.settimeout(0.2)
        try:
            if wire.recv(1, socket.MSG_PEEK) == b"":
                return
            break
        except TimeoutError:
            continue
        except OSError:
            return
    wire.settimeout(60)


def test_it_answers_as_the_command_does(
    service: Service, gallery: Path, people: Path, queries: list[Path]
) -> None:
    told = as_json(run("identify", people / "query", "--gallery", gallery, *ENCODER, "--json"))
    expected = {answer["name"]: answer for answer in told["identifications"]}
    for path in queries:
        answer = send(service, path.read_bytes())
        assert answer.status_code == 200
        (found,) = answer.json()["answers"]
        assert found["label"] == expected[path.name]["label"]
        assert found["similarity"] == pytest.approx(expected[path.name]["similarity"], abs=1e-5)
        assert found["name"] == "0.jpg"
        assert [one["key"] for one in found["images"]] == [
            one["key"] for one in expected[path.name]["images"]
        ]


def test_a_request_says_which_of_the_gallery_is_looked_at(
    service: Service, gallery: Path, people: Path, queries: list[Path]
) -> None:
    options = ("--seen-by", "2", "--seen-by", "3", "--added-from", "2026-01-01")
    told = as_json(
        run("identify", people / "query", "--gallery", gallery, *ENCODER, *options, "--json")
    )
    expected = {answer["name"]: answer for answer in told["identifications"]}
    asked = "/identify?seen_by=2&seen_by=3&added_from=2026-01-01"
    for path in queries:
        (found,) = send(service, path.read_bytes(), path=asked).json()["answers"]
        cameras = {image["camera"] for image in found["images"]}
        assert cameras <= {"2", "3"}
        assert [one["key"] for one in found["images"]] == [
            one["key"] for one in expected[path.name]["images"]
        ]
    nobody = send(service, queries[0].read_bytes(), path="/identify?added_until=2026-01-01")
    assert nobody.status_code == 409
    assert "holds no answer for 0.jpg: look at more than images added before" in nobody.text


def test_several_images_are_several_queries_or_one(service: Service, queries: list[Path]) -> None:
    contents = [path.read_bytes() for path in queries[:3]]
    each = send(service, *contents).json()["answers"]
    together = send(service, *contents, path="/identify?one_person=true").json()["answers"]
    assert [answer["name"] for answer in each] == ["0.jpg", "1.jpg", "2.jpg"]
    assert [answer["names"] for answer in together] == [["0.jpg", "1.jpg", "2.jpg"]]


def test_an_image_can_be_the_whole_body(service: Service, queries: list[Path]) -> None:
    answer = service.call(
        "POST",
        "/identify",
        content=queries[0].read_bytes(),
        headers=WITH_TOKEN | {"Content-Type": "image/jpeg"},
    )
    assert answer.json()["answers"] == [
        send(service, queries[0].read_bytes()).json()["answers"][0] | {"name": "image"}
    ]


def test_a_person_is_added_named_removed_and_forgotten(
    service: Service, queries: list[Path]
) -> None:
    first, second = (path.read_bytes() for path in queries[:2])
    added = send(service, first, second, path="/images", label="a/b", camera="1")
    assert added.status_code == 201
    kept = added.json()["images"]
    assert [one["label"] for one in kept] == ["a/b", "a/b"]
    again = send(service, first, path="/images", label="a/b", camera="1").json()
    assert again["changes"]["num_embedded"] == 0
    (found,) = send(service, first).json()["answers"]
    assert (found["label"], found["similarity"]) == ("a/b", pytest.approx(1.0, abs=1e-5))
    key = kept[0]["key"]
    assert service.call("DELETE", f"/images/{key}", headers=WITH_TOKEN).status_code == 200
    assert service.call("DELETE", f"/images/{key}", headers=WITH_TOKEN).status_code == 404
    forgotten = service.call("DELETE", "/labels/a/b", headers=WITH_TOKEN)
    assert forgotten.json()["num_images"] == 1
    assert service.call("DELETE", "/labels/a/b", headers=WITH_TOKEN).status_code == 404


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": TOKEN}, 401),
        ({"Authorization": f"Basic {TOKEN}"}, 401),
        (WITH_TOKEN, 200),
    ],
)
def test_a_token_opens_the_door(service: Service, headers: dict[str, str], status: int) -> None:
    for path in ("/metrics", "/openapi.json", "/docs"):
        answer = service.call("GET", path, headers=headers)
        assert answer.status_code == status
        assert ("WWW-Authenticate" in answer.headers) == (status == 401)
        if status == 401:
            is_wrong = headers == {"Authorization": "Bearer wrong"}
            problem = "the token is wrong" if is_wrong else "a token is required"
            assert answer.json()["error"].startswith(f"{problem}: send the header")


def test_the_token_is_never_told(service: Service, tmp_path: Path) -> None:
    service.call("GET", "/metrics", headers={"Authorization": f"Bearer {TOKEN}x"})
    settings = as_json(run("settings", "--set", f"service.token={TOKEN}", "--json"))
    assert TOKEN not in json.dumps(settings)
    assert TOKEN not in service.log.read_text()
    (tmp_path / "reid.toml").write_text("[service]\ntoken = 1234567\n")
    result = run("settings", "--config", tmp_path / "reid.toml", expect=3)
    assert "service.token" in result.output
    assert "1234567" not in result.output


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 400),
        (b"no image", 400),
        (b"GIF89a" + bytes(100), 400),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", 400),
        (png_claiming(30_000, 30_000), 400),
        (png_claiming(1001, 1000), 400),
        (b"\xff\xd8\xff\xe0" + b"\xff" * 5000, 400),
    ],
)
def test_what_is_no_image_is_refused(service: Service, content: bytes, status: int) -> None:
    answer = send(service, content)
    assert answer.status_code == status
    assert set(answer.json()) == {"error"}


def test_truncated_images_are_refused_and_spoil_nobody_elses_answer(
    service: Service, queries: list[Path]
) -> None:
    whole = queries[0].read_bytes()
    cuts = [whole[: len(whole) * tenth // 10] for tenth in range(10)]
    with ThreadPoolExecutor(12) as clients:
        bad = [clients.submit(send, service, cut) for cut in cuts]
        good = [clients.submit(send, service, whole) for _ in range(10)]
    assert {one.result().status_code for one in bad} == {400}
    assert {one.result().status_code for one in good} == {200}
    assert send(service, whole, cuts[5]).status_code == 400


def test_bodies_of_other_kinds_are_refused(service: Service, queries: list[Path]) -> None:
    def post(content: bytes, kind: str) -> int:
        headers = WITH_TOKEN | ({"Content-Type": kind} if kind else {})
        answer = service.call("POST", "/identify", content=content, headers=headers)
        assert answer.json()["error"]
        return answer.status_code

    form = "multipart/form-data"
    assert post(b"{}", "application/json") == 415
    assert post(b"x", "") == 415
    assert post(b"x", form) == 400
    assert post(b"x", f"{form}; boundary=b") == 400
    assert post(b"--b\r\n\r\n\r\nx", f"{form}; boundary=b") == 400
    assert (
        post(b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--", f"{form}; boundary=b")
        == 400
    )
    assert post(b"--b--\r\n", f"{form}; boundary=b") == 422
    assert post(b"--b\r\n" * 1000, f"{form}; boundary=b") in (400, 413)
    assert send(service, *[queries[0].read_bytes()] * 5).status_code == 413
    assert send(service, queries[0].read_bytes(), path="/images").status_code == 422
    assert service.call("DELETE", "/images/x", headers=WITH_TOKEN).status_code == 422
    unknown = send(service, queries[0].read_bytes(), seen_by="2")
    assert unknown.status_code == 422
    assert "the form has no field 'seen_by', but label and camera" in unknown.text
    misspelt = send(service, queries[0].read_bytes(), path="/identify?one-person=true")
    assert misspelt.status_code == 422
    assert "no parameter 'one-person' here, but one_person, camera, seen_by" in misspelt.text
    undated = send(service, queries[0].read_bytes(), path="/identify?added_from=today")
    assert undated.status_code == 422
    assert "added_from should be a day such as 2026-01-31" in undated.text
    assert service.call("GET", "/nowhere", headers=WITH_TOKEN).status_code == 404
    assert service.call("PUT", "/identify", headers=WITH_TOKEN).status_code == 405


def test_what_can_be_read_in_two_ways_is_refused(service: Service, queries: list[Path]) -> None:
    def refused(path: str, *fields: tuple[str, bytes], status: int = 422) -> str:
        parts = [(name, (None, value)) for name, value in fields]
        image = ("image", ("a.jpg", queries[0].read_bytes()))
        answer = service.call("POST", path, files=[image, *parts], headers=WITH_TOKEN)
        assert answer.status_code == status, answer.text
        return str(answer.json()["error"])

    twice = refused("/images", ("label", b"anna"), ("label", b"bert"))
    assert twice == "label is given more than once in the form: give it once"
    both = refused("/images?label=anna", ("label", b"bert"))
    assert both == "label is given more than once in the form and in the address: give it once"
    assert "added_from is given more than once in the address" in refused(
        "/identify?added_from=2026-01-01&added_from=2027-01-01"
    )
    assert "camera is given more than once" in refused("/identify?camera=1&camera=2")
    # Letters put in for unknown bytes would make one person of M\xfcller and M\xf6ller.
    latin = refused("/images", ("label", "M\xfcller".encode("latin-1")), status=400)
    assert latin == "the form's label cannot be read: send text as UTF-8"
    assert "the address cannot be read" in refused("/images?label=M%FCller", status=400)
    assert "no label was sent" in refused("/images?label=%20")
    nothing_to_say = service.call("GET", "/health?x=1").json()["error"]
    assert nothing_to_say == "there is no parameter 'x' here, nor any other; see /docs"


def test_a_body_is_cut_where_it_grows_too_large(service: Service) -> None:
    kind = {"Content-Type": "image/png"}
    declared = service.call(
        "POST", "/identify", content=bytes(2 * MEBIBYTE), headers=WITH_TOKEN | kind
    )
    assert declared.status_code == 413

    def endless() -> Iterator[bytes]:
        for _ in range(48):
            yield bytes(MEBIBYTE // 16)

    chunked = service.call("POST", "/identify", content=endless(), headers=WITH_TOKEN | kind)
    assert chunked.status_code == 413
    assert "bytes" in chunked.json()["error"]


def test_slow_clients_are_left_waiting_no_longer_than_said(service: Service) -> None:
    head = f"POST /identify HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
    body = "Content-Type: image/png\r\nContent-Length: 1000\r\n\r\n"
    with ThreadPoolExecutor(4) as clients:
        silent = clients.submit(talk, service, b"", then=lambda _: None)
        slow_head = clients.submit(talk, service, b"GET /health HTTP/1.1\r\nX-", then=drip)
        slow_body = clients.submit(talk, service, (head + body).encode(), then=drip)
        # Others are answered meanwhile.
        assert service.call("GET", "/health").status_code == 200
        looked = service.call("HEAD", "/health")
        assert (looked.status_code, looked.content) == (200, b"")
    assert silent.result() == b""
    assert slow_head.result() == b""
    assert b" 408 " in slow_body.result().partition(b"\r\n")[0]


def test_a_broken_off_body_harms_nobody(service: Service) -> None:
    head = f"POST /identify HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
    body = "Content-Type: image/png\r\nContent-Length: 1000\r\n\r\nabc"
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", service.port), timeout=60) as wire:
            wire.sendall((head + body).encode())
    assert b" 400 " in talk(service, b"\0\1\2nonsense\r\n\r\n", then=lambda _: None)


def test_many_clients_at_once_are_all_answered_in_bounded_memory(
    service: Service, queries: list[Path]
) -> None:
    contents = [path.read_bytes() for path in queries]
    bomb, junk = png_claiming(30_000, 30_000), bytes(MEBIBYTE - 1000)
    send(service, contents[0])
    before = service.memory()

    def one(number: int) -> tuple[str, int]:
        kind = ("good", "bomb", "junk", "large")[number % 4]
        content = {"bomb": bomb, "junk": junk, "large": junk + junk}.get(
            kind, contents[number % len(contents)]
        )
        return kind, send(service, content).status_code

    with ThreadPoolExecutor(24) as clients:
        found = list(clients.map(one, range(240)))
    allowed = {"good": {200, 503}, "bomb": {400, 503}, "junk": {400, 503}, "large": {413}}
    assert all(status in allowed[kind] for kind, status in found)
    assert sum(found.count(("good", status)) for status in (200, 503)) == 60
    assert found.count(("good", 200)) > 30
    # What bodies may hold, their copies while forms are split, and an image being decoded.
    assert service.memory() - before < 64 * MEBIBYTE


def test_figures_tell_what_happened(service: Service, queries: list[Path]) -> None:
    send(service, queries[0].read_bytes())
    text = service.call("GET", "/metrics", headers=WITH_TOKEN).text
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    good = 'reid_requests_total{method="POST",route="/identify",status="200"}'
    assert float(lines[good]) >= 1
    assert float(lines['reid_request_seconds_count{method="POST",route="/identify"}']) >= 1
    assert float(lines["reid_queue_images"]) == 0
    assert float(lines["reid_held_bytes"]) == 0
    assert float(lines["reid_gallery_images"]) > 0
    assert not any("a/b" in line for line in lines)


def test_figures_tell_of_images_that_another_program_took_out(
    service: Service, gallery: Path, queries: list[Path]
) -> None:
    with closing(open_filesystem_gallery(gallery, create=False, create_index=ExactIndex)) as kept:
        last = kept.images()[-1]
        kept.remove([last.key], entry=entry(AuditAction.REMOVE))
        num_left = kept.describe().num_images
    send(service, queries[0].read_bytes())
    text = service.call("GET", "/metrics", headers=WITH_TOKEN).text
    assert f"reid_gallery_images {num_left}" in text.replace(".0\n", "\n")


def test_the_page_of_the_routes_asks_nobody_else(service: Service) -> None:
    page = service.call("GET", "/docs", headers=WITH_TOKEN)
    schema = service.call("GET", "/openapi.json", headers=WITH_TOKEN).json()
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert "<script" not in page.text
    assert "//" not in page.text.replace("<!doctype html>", "")
    for path, methods in schema["paths"].items():
        assert path in page.text
        assert methods
    assert set(schema["paths"]) >= {"/identify", "/images", "/images/{key}", "/labels/{label}"}


def test_a_signal_ends_it_once_running_requests_are_answered(
    gallery: Path, queries: list[Path], tmp_path: Path
) -> None:
    with serving(gallery, log=tmp_path / "log") as service:
        with httpx.Client(base_url=service.address, timeout=60) as client:
            content = queries[0].read_bytes()
            head = (
                f"POST /identify HTTP/1.1\r\nHost: 127.0.0.1:{service.port}\r\n"
                f"Content-Type: image/jpeg\r\nContent-Length: {len(content)}\r\n\r\n"
            ).encode()
            assert client.get("/health").status_code == 200
            with socket.create_connection(("127.0.0.1", service.port), timeout=60) as wire:
                wire.sendall(head + content[:100])
                client.get("/health")
                service.process.send_signal(signal.SIGTERM)
                _wait_until_refused(service.port)
                wire.sendall(content[100:])
                said = b""
                while part := wire.recv(65536):
                    said += part
            assert said.startswith(b"HTTP/1.1 200")
            assert json.loads(said.partition(b"\r\n\r\n")[2])["answers"]
        assert service.process.wait(timeout=120) == 0
        assert "Traceback" not in service.log.read_text()
    assert as_json(run("gallery", "check", gallery, "--json"))["faults"] == []


def _wait_until_refused(port: int) -> None:
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            return
        time.sleep(0.05)
    raise AssertionError("it still takes connections")


def test_without_a_token_only_this_machine_is_served(gallery: Path, tmp_path: Path) -> None:
    result = run("serve", "--gallery", gallery, *ENCODER, "--host", "0.0.0.0", expect=3)
    assert "token" in result.output
    short = tmp_path / "token"
    short.write_text("short")
    result = run(
        "serve", "--gallery", gallery, *ENCODER, "--host", "0.0.0.0", "--token-file", short,
        expect=3,
    )  # fmt: skip
    assert "at least 16" in result.output
    assert "short" not in result.output.replace(str(short), "")


def test_pages_of_other_sites_are_kept_out(gallery: Path, tmp_path: Path) -> None:
    with serving(gallery, log=tmp_path / "log") as service:
        statuses = {
            name: service.call("GET", "/health", headers=headers).status_code
            for name, headers in {
                "own": {},
                "own page": {"Origin": service.address},
                "other page": {"Origin": "http://example.org"},
                "other name": {"Host": "example.org"},
            }.items()
        }
        assert statuses == {"own": 200, "own page": 200, "other page": 403, "other name": 403}
        assert service.stop(signal.SIGINT) == 0


def test_what_does_not_go_together_is_told_before_anybody_asks(
    gallery: Path, tmp_path: Path
) -> None:
    other = ("--encoder", "vit-tiny", "--weights", "random")
    assert "was made by" in run("serve", "--gallery", gallery, *other, expect=8).output
    run("serve", "--gallery", tmp_path / "none", *ENCODER, expect=8)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = run("serve", "--gallery", gallery, *ENCODER, "--port", port, expect=3)
    assert "cannot listen" in result.output


def test_a_query_of_another_kind_than_was_calibrated_is_refused(
    people: Path, tmp_path: Path
) -> None:
    gallery = build_gallery(tmp_path / "known", people / "bounding_box_test")
    files = [("image", p.read_bytes()) for p in sorted((people / "query").glob("*.jpg"))[:2]]

    def calibrate(*options: str) -> None:
        rate = ("--false-accept-rate", "0.25")
        run("calibrate", people / "query", "--gallery", gallery, *ENCODER, *options, *rate)

    def answers() -> list[int]:
        with serving(gallery, "--fusion", "mean", log=tmp_path / "log") as service:
            asked = [
                service.call("POST", f"/identify{manner}", files=files).status_code
                for manner in ("", "?one_person=true")
            ]
            assert service.stop() == 0
        return asked

    calibrate("--fusion", "mean", "--tracklets")
    refused = run("serve", "--gallery", gallery, *ENCODER, expect=8)
    assert "calibrated for the fusion 'mean, tracklets'" in refused.output
    assert answers() == [409, 200]
    calibrate("--fusion", "mean")
    assert answers() == [200, 200]
