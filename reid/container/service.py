"""The service over HTTP, from settings and a container."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from reid.domain.errors import ConfigurationError
from reid.small_files import FileBoundsError

if TYPE_CHECKING:
    from reid.container.root import Container
    from reid.domain.services.gallery import Gallery
    from reid.service.gallery_service import GalleryService
    from reid.service.limits import Limits
    from reid.settings.schema import Settings
    from reid.settings.tasks import ServiceSettings

_MIB = 2**20
_MOST_TOKEN_BYTES = 4096


def serve_gallery(
    container: "Container",
    settings: "Settings",
    *,
    gallery: str,
    announce: Callable[[str], None],
) -> None:
    """Serve a gallery until a signal says otherwise.

    Args:
        container: Holds the use cases.
        settings: Those that the container was made of.
        gallery: Its name.
        announce: Told the address when all is ready.

    Raises:
        ConfigurationError: Settings do not go with a service.
        ReidError: Encoder or gallery cannot be opened, or do not go together.
    """
    from reid.service.server import serve

    if settings.identify.rerank:
        raise ConfigurationError(
            "identify.rerank: re-ranking compares all queries with each other, and those of "
            "different clients have nothing to do with each other: leave it out"
        )
    service = settings.service
    serve(
        lambda: open_gallery_service(container, gallery),
        create_intake=container.image_intake,
        host=service.host,
        port=service.port,
        token=token_of(service),
        limits=limits_of(service),
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

    def open_gallery() -> "Gallery":
        return container.open_gallery(name, create=False)

    service = GalleryService(
        identify_each=container.identify_each(),
        identify_together=container.identify_together(),
        fill=container.enroll_gallery(),
        keep=container.maintain_gallery(),
        open_gallery=open_gallery,
    )
    try:
        service.require_encoder(container.enrolment())
        service.require_decision()
    except BaseException:
        service.close()
        raise
    return service


def token_of(settings: "ServiceSettings") -> str | None:
    """Read the token, from its file where one is named.

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
        # No regular file need it be: a shell's <(...) is a pipe.
        with settings.token_file.open("rb") as file:
            content = file.read(_MOST_TOKEN_BYTES + 1)
        if len(content) > _MOST_TOKEN_BYTES:
            raise FileBoundsError(f"larger than {_MOST_TOKEN_BYTES} bytes")
        return content.decode().strip()
    except (OSError, UnicodeDecodeError, FileBoundsError) as error:
        raise ConfigurationError(
            f"service.token_file: {settings.token_file} cannot be read ({_reason(error)}): name a "
            "file that holds the token and nothing else"
        ) from error


def _reason(error: OSError | UnicodeDecodeError | FileBoundsError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "not a text"
    return (isinstance(error, OSError) and error.strerror) or str(error)


def limits_of(settings: "ServiceSettings") -> "Limits":
    """Put settings as the service wants them.

    Raises:
        ConfigurationError: Less may be held at once than one body may have.
    """
    from reid.service.limits import Limits

    if settings.held_mib < settings.body_mib:
        raise ConfigurationError(
            f"service.held_mib {settings.held_mib} is less than service.body_mib "
            f"{settings.body_mib}: no body of that size could ever be taken"
        )
    return Limits(
        body_bytes=settings.body_mib * _MIB,
        held_bytes=settings.held_mib * _MIB,
        images=settings.images,
        pixels=settings.pixels,
        waiting=settings.waiting,
        connections=settings.connections,
        header_seconds=settings.header_seconds,
        body_seconds=settings.body_seconds,
        seconds=settings.seconds,
    )
