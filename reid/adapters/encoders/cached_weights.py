"""Which of OpenAI's weights are on this machine; asks no network."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from huggingface_hub import try_to_load_from_cache
from open_clip.pretrained import get_pretrained_cfg

from reid.adapters.encoders.architectures import ARCHITECTURES
from reid.adapters.encoders.exported import file_digest

_HUB_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
"""What open_clip calls weights on the hub, in the order in which it asks for them."""

_DIGEST_LENGTH = 64


def describe_cached_weights(archives: Path | None = None) -> dict[str, str]:
    """Tell of each encoder whether OpenAI's weights need no download.

    Args:
        archives: Where open_clip keeps OpenAI's own archives; None: where it usually does.
    """
    folder = archives or Path.home() / ".cache" / "clip"
    return {
        kind: _described(get_pretrained_cfg(architecture.openai_name, "openai"), folder)
        for kind, architecture in ARCHITECTURES.items()
        if architecture.openai_name is not None
    }


def _described(config: Mapping[str, object], folder: Path) -> str:
    url = PurePosixPath(str(config.get("url", "")))
    archive = folder / url.name
    if url.name and archive.is_file():
        digest = url.parent.name
        is_whole = len(digest) != _DIGEST_LENGTH or file_digest(archive) == digest
        return (
            "cached, as OpenAI's archive"
            if is_whole
            else "cached, but damaged: it will be fetched anew"
        )
    repository = str(config.get("hf_hub", "")).rstrip("/")
    if repository and any(
        isinstance(try_to_load_from_cache(repository, name), str) for name in _HUB_FILES
    ):
        return "cached, from the hub"
    return "not cached: fetched when first asked for"
