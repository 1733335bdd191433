"""The HTTP server, with deadlines for slow clients."""

import asyncio
import ipaddress
import math
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from importlib.metadata import version
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from reid.adapters.images.given import ImageIntake
from reid.domain.errors import ConfigurationError
from reid.service.api import Api, create_app
from reid.service.bodies import Bodies
from reid.service.gallery_service import GalleryService
from reid.service.middleware import Metrics, Middleware
from reid.service.worker import Worker
from reid.settings.tasks import ServiceSettings

_MAX_HEADER_BYTES = 16 * 1024
_SHORTEST_TOKEN = 16
_CROWDED = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Type: application/json\r\n"
    b"Connection: close\r\nContent-Length: 58\r\n\r\n"
    b'{"error": "too many open connections: come back in a bit"}'
)


def serve(
    open_gallery_service: Callable[[], GalleryService],
    *,
    create_intake: Callable[[], ImageIntake],
    settings: ServiceSettings,
    token: str | None,
    batch_size: int,
    announce: Callable[[str], None],
) -> None:
    """Serve until SIGINT or SIGTERM, then finish the requests that are running.

    Args:
        open_gallery_service: Opens encoder and gallery, in the thread that uses them.
        create_intake: Called once the encoder is open.
        settings: Address, and limits on the resources of clients.
        token: Of the clients; None: only this machine is served.
        batch_size: Of the encoder.
        announce: Receives the address once the service is ready.

    Raises:
        ConfigurationError: The token is missing or short, or the address is not available.
        ReidError: Encoder or gallery cannot be opened.
    """
    _require_token(settings.host, token)
    with _bound(settings.host, settings.port) as listener:
        worker = Worker(open_gallery_service, max_waiting=settings.waiting, batch_size=batch_size)
        # A signal may arrive while the encoder loads; its thread must not outlive that.
        with closing(worker):
            bodies = Bodies(settings)
            metrics = Metrics(worker, bodies, worker.start())
            api = Api(worker, intake=create_intake(), bodies=bodies, seconds=settings.seconds)
            with closing(api):
                app = create_app(api, metrics, version=version("clip-reid"))
                guarded = Middleware(app, token=token, metrics=metrics)
                server = _Server(_config(guarded, limits=settings))
                server.announce = lambda: announce(_address(listener))
                server.run(sockets=[listener])


def _require_token(host: str, token: str | None) -> None:
    """Refuse to serve other machines without a token, and a weak one."""
    if token is None and not _is_loopback(host):
        raise ConfigurationError(
            f"service.host {host} can be reached from other machines, so clients must bring a "
            "token: name a file that holds one by `service.token_file`, or set REID_SERVICE__TOKEN"
        )
    if token is not None and (len(token) < _SHORTEST_TOKEN or not token.isascii()):
        raise ConfigurationError(
            f"service.token must have at least {_SHORTEST_TOKEN} plain characters: take random "
            "ones, for example from `openssl rand -hex 32`"
        )


def _is_loopback(host: str) -> bool:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ConfigurationError(
            f"service.host: {host!r} cannot be resolved ({error.strerror}): give an address of "
            "this machine, such as 127.0.0.1 or 0.0.0.0"
        ) from error
    return all(
        ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback for *_, address in found
    )


@contextmanager
def _bound(host: str, port: int) -> Iterator[socket.socket]:
    """Bind the address before anything slow is loaded; clients connect once all is ready."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise ConfigurationError(
                f"cannot listen on {host} port {port} ({error.strerror}): name others by "
                "`service.host` and `service.port`, 0 for any free port"
            ) from error
        yield listener


def _address(listener: socket.socket) -> str:
    host, port, *_ = listener.getsockname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _config(app: Middleware, *, limits: ServiceSettings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=partial(_ImpatientProtocol, limits=limits),  # type: ignore[arg-type]  # any factory will do
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=math.ceil(limits.header_seconds),
        timeout_graceful_shutdown=math.ceil(limits.body_seconds + limits.seconds) + 5,
        h11_max_incomplete_event_size=_MAX_HEADER_BYTES,
    )


class _Server(uvicorn.Server):
    """Ends quietly after a signal, which is the intended way to stop it."""

    announce: Callable[[], None]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.announce()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        with super().capture_signals():
            yield
            # Uvicorn would raise them again.
            self._captured_signals.clear()


class _ImpatientProtocol(H11Protocol):
    """Closes connections whose header takes too long, for which uvicorn has no deadline."""

    def __init__(self, *arguments: Any, limits: ServiceSettings, **named: Any) -> None:  # noqa: ANN401
        super().__init__(*arguments, **named)
        self._limits = limits
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self._limits.connections:
            transport.write(_CROWDED)
            transport.close()
            return
        self._start_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        super().handle_events()
        if self.conn.their_state is not h11.IDLE:
            self._stop_waiting()

    def on_response_complete(self) -> None:
        self._start_waiting()
        super().on_response_complete()

    def _start_waiting(self) -> None:
        self._stop_waiting()
        self._deadline = self.loop.call_later(self._limits.header_seconds, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
