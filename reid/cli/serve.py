"""`reid serve`: identify people over HTTP."""

from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

import typer

from reid.cli.options import ENCODER_OPTIONS, option, takes_settings
from reid.container.checks import require_gallery
from reid.container.program import load_container, settings_to_answer
from reid.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from reid.settings.loading import ResolvedSettings

GalleryOption = Annotated[
    str, option("--gallery GALLERY", "A gallery, made by `reid gallery build`.")
]
_PARTS = ("fastapi", "prometheus_client", "python_multipart", "uvicorn")


@takes_settings(
    *ENCODER_OPTIONS,
    *("identify.top_k", "evaluation.use_cameras", "identify.fusion", "identify.unknown"),
    *("gallery.expire_after", "gallery.thumbnails", "service.host", "service.port"),
    "service.token_file",
)
def serve(resolved: "ResolvedSettings", *, gallery: GalleryOption) -> None:
    """Identify, add and erase people over HTTP until stopped."""
    missing = [part for part in _PARTS if find_spec(part) is None]
    if missing:
        raise ConfigurationError(
            f"reid serve needs {', '.join(missing)}: pip install 'clip-reid[serve]'"
        )
    settings = settings_to_answer(resolved)
    require_gallery(settings.gallery, gallery, otherwise=None)
    from reid.container.service import serve_gallery

    # Requests show no progress: the container's own listener is silent.
    container = load_container()(settings=settings, num_cameras=0)
    serve_gallery(container, settings, gallery=gallery, announce=typer.echo)
