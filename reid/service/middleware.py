"""Middleware that authenticates requests and counts answers, and the metrics for Prometheus."""

import asyncio
import hmac
import time
from collections.abc import Mapping
from ipaddress import ip_address

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reid.service.bodies import Bodies
from reid.service.gallery_service import GalleryService
from reid.service.http_errors import HttpError, as_response
from reid.service.worker import Worker

OPEN_PATHS = frozenset({"/health", "/health/live"})
"""Paths without a token: they reveal only whether the service is alive."""

KNOWN_METHODS = frozenset({"GET", "HEAD", "POST", "DELETE"})
_LINGER_SECONDS = 2.0
_LINGER_BYTES = 64 * 2**20
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """Counts requests, and measures the queue, the memory of bodies and the gallery."""

    def __init__(self, worker: Worker, bodies: Bodies, service: GalleryService) -> None:
        """Start at zero; the gauges are read from the parts whenever they are asked for."""
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "reid_requests",
            "Requests answered.",
            ["method", "route", "status"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "reid_request_seconds",
            "Seconds from a request's header to the end of its answer.",
            ["method", "route"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        gauges = (
            ("reid_queue_images", "Images that wait for the encoder.", lambda: worker.num_waiting),
            ("reid_held_bytes", "Bytes of bodies in memory.", lambda: bodies.num_bytes),
            ("reid_gallery_images", "Images in the gallery.", lambda: service.num_images),
        )
        for name, text, value in gauges:
            Gauge(name, text, registry=self._registry).set_function(value)

    def count(self, method: str, route: str, *, status: int, seconds: float) -> None:
        """Count a request by its route's pattern, since paths contain labels without end."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry)


class Middleware:
    """Refuses requests without the right token, and counts answers."""

    def __init__(self, app: ASGIApp, *, token: str | None, metrics: Metrics) -> None:
        """Wrap an application; without a token, clients must be on this machine."""
        self._app = app
        self._token = None if token is None else token.encode()
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        visit = _Visit(scope, receive, send)
        started = time.perf_counter()
        try:
            refusal = self._refusal(scope)
            app = self._app if refusal is None else as_response(refusal)
            await app(scope, visit.receive, visit.send)
        finally:
            self._metrics.count(
                scope["method"] if scope["method"] in KNOWN_METHODS else "other",
                getattr(scope.get("route"), "path", "other"),
                status=visit.status,
                seconds=time.perf_counter() - started,
            )

    def _refusal(self, scope: Scope) -> HttpError | None:
        headers = Headers(scope=scope)
        if self._token is None:
            return _refusal_of_foreign_page(headers)
        if scope["path"] in OPEN_PATHS:
            return None
        scheme, _, given = headers.get("authorization", "").partition(" ")
        # Compared in constant time, so that it cannot be guessed character by character.
        is_right = hmac.compare_digest(given.strip().encode(), self._token)
        is_bearer = scheme.lower() == "bearer"
        if is_bearer and is_right:
            return None
        problem = "the token is wrong" if is_bearer else "a token is required"
        return HttpError(
            401,
            f"{problem}: send the header `Authorization: Bearer TOKEN`",
            headers={"WWW-Authenticate": "Bearer"},
        )


def _refusal_of_foreign_page(headers: Mapping[str, str]) -> HttpError | None:
    """Without a token, refuse pages of other sites in a browser on this machine.

    They can send forms to this machine (cross-site request forgery) and claim its address (DNS
    rebinding); the headers Origin and Host reveal them.
    """
    host = headers.get("host", "")
    origin = headers.get("origin")
    if _is_loopback(_hostname(host)) and origin in (None, f"http://{host}"):
        return None
    return HttpError(403, "without a token, only this machine is served: start with a token")


def _hostname(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _is_loopback(name: str) -> bool:
    if name == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


class _Visit:
    """One request; reads its body to the end, so that the client receives the answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        self._receive = receive
        self._send = send
        self._has_unread_body = (
            headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        )
        self.status = 500

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            self._has_unread_body = False
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if self._has_unread_body:
                MutableHeaders(scope=message)["Connection"] = "close"
            await self._send(message)
        elif self._has_unread_body and not message.get("more_body", False):
            # On an immediate close, the kernel would drop the answer with the bytes still arriving.
            await self._send({**message, "more_body": True})
            await self._read_on()
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
        else:
            await self._send(message)

    async def _read_on(self) -> None:
        num_bytes = 0
        try:
            async with asyncio.timeout(_LINGER_SECONDS):
                while self._has_unread_body and num_bytes < _LINGER_BYTES:
                    num_bytes += len((await self.receive()).get("body", b""))
        except TimeoutError:
            return
