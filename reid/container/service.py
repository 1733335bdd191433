"""The service over HTTP, from settings and a container."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from reid.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from reid.container.root import Container
    from reid.service.gallery_service import GalleryService
    from reid.settings.schema import Settings
    from reid.settings.tasks import ServiceSettings

_MOST_TOKEN_BYTES = 4096


def serve_gallery(
    container: "Container", settings: "Settings", *, gallery: str, announce: Callable[[str], None]
) -> None:
    """Serve a gallery, by its folder or name, until a signal stops it.

    `announce` receives the address once the service is ready.

    Raises:
        ConfigurationError: A setting does not suit a service.
        ReidError: Encoder or gallery cannot be opened, or do not match.
    """
    from reid.service.server import serve

    if settings.identify.rerank:
        raise ConfigurationError(
            "identify.rerank: re-ranking compares all queries with each other, but a service "
            "answers unrelated clients: leave it out"
        )
    service = settings.service
    if service.held_mib < service.body_mib:
        raise ConfigurationError(
            f"service.held_mib {service.held_mib} is less than service.body_mib "
            f"{service.body_mib}: no body of that size would ever be accepted"
        )
    serve(
        lambda: open_gallery_service(container, gallery),
        create_intake=container.image_intake,
        settings=service,
        token=token_of(service),
        batch_size=settings.evaluation.batch_size,
        announce=announce,
    )


def open_gallery_service(container: "Container", name: str) -> "GalleryService":
    """Open encoder and gallery.

    Raises:
        GalleryError: The gallery is missing or damaged, another encoder made it, or it is
            calibrated for another fusion.
    """
    from reid.service.gallery_service import GalleryService

    service = GalleryService(
        identify=container.identify(),
        enroll=container.enroll_gallery(),
        maintain=container.maintain_gallery(),
        open_gallery=partial(container.open_gallery, name, create=False),
    )
    try:
        service.require_suitable(container.enrolment())
    except BaseException:
        service.close()
        raise
    return service


def token_of(settings: "ServiceSettings") -> str | None:
    """Return the token, read from its file if one is named.

    Raises:
        ConfigurationError: The file cannot be read, or there are two tokens.
    """
    said = None if settings.token is None else settings.token.get_secret_value()
    if settings.token_file is None:
        return said
    if said is not None:
        raise ConfigurationError(
            "service.token and service.token_file name two tokens: give one of them"
        )
    try:
        # It need not be a regular file: a shell's <(...) is a pipe.
        with settings.token_file.open("rb") as file:
            content = file.read(_MOST_TOKEN_BYTES + 1)
        reason = f"larger than {_MOST_TOKEN_BYTES} bytes"
        if len(content) <= _MOST_TOKEN_BYTES:
            return content.decode().strip()
    except OSError as error:
        reason = error.strerror or str(error)
    except UnicodeDecodeError:
        reason = "not text"
    raise ConfigurationError(
        f"service.token_file: {settings.token_file} cannot be read ({reason}): name a file that "
        "holds the token and nothing else"
    )
