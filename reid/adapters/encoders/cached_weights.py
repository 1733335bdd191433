"""Which of OpenAI's weights are on this machine; makes no network request."""

from pathlib import Path, PurePosixPath

from huggingface_hub import try_to_load_from_cache

from reid.adapters.encoders.architecture import Publication
from reid.adapters.encoders.exported import file_digest
from reid.adapters.encoders.registry import architectures

_HUB_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
"""Names of weights on the hub, in open_clip's order."""


def describe_cached_weights(archives: Path | None = None) -> dict[str, str]:
    """Describe for each encoder whether OpenAI's weights are cached.

    Args:
        archives: Folder of open_clip's archives; None: its default.
    """
    folder = archives or Path.home() / ".cache" / "clip"
    return {
        kind: _described(architecture.published, folder)
        for kind, architecture in architectures().items()
        if architecture.published is not None
    }


def _described(published: Publication, folder: Path) -> str:
    url = PurePosixPath(published.url)
    archive = folder / url.name
    if archive.is_file():
        if file_digest(archive) == url.parent.name:
            return "cached, as OpenAI's archive"
        return "cached, but damaged: it will be fetched again"
    repository = published.hub.rstrip("/")
    if any(isinstance(try_to_load_from_cache(repository, name), str) for name in _HUB_FILES):
        return "cached, from the hub"
    return "not cached: fetched when first asked for"
