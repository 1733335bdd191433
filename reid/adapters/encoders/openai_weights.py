"""OpenAI's weights: where they are published, whether they are cached, and their download."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from socket import gaierror

from reid.adapters.encoders.weights import WeightsFile, read_weights_file
from reid.domain.errors import EncoderError
from reid.domain.values.encoders import Activation

_ARCHIVES = "https://openaipublic.azureedge.net/clip/models/"

PUBLISHED: dict[str, Mapping[str, str]] = {
    "rn50": {
        "url": f"{_ARCHIVES}afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762/"
        "RN50.pt",
        "hf_hub": "timm/resnet50_clip.openai/",
    },
    "vit-b16": {
        "url": f"{_ARCHIVES}5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f/"
        "ViT-B-16.pt",
        "hf_hub": "timm/vit_base_patch16_clip_224.openai/",
    },
}
"""By kind, OpenAI's archive, whose folder is its SHA-256, and the same on the hub."""

_HUB_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
"""Names of weights on the hub, in open_clip's order."""


def _fetch_by_open_clip(published: dict[str, str], *, prefer_hf_hub: bool) -> str:
    # It takes seconds to import.
    from open_clip.pretrained import download_pretrained

    return str(download_pretrained(published, prefer_hf_hub=prefer_hf_hub))


def download_openai_weights(
    kind: str, *, fetch: Callable[..., str] = _fetch_by_open_clip
) -> WeightsFile:
    """Fetch OpenAI's weights into open_clip's cache, or find them there.

    Raises:
        EncoderError: OpenAI published none for this kind, or they cannot be downloaded.
    """
    if kind not in PUBLISHED:
        raise EncoderError(
            f"encoder.weights: OpenAI published none for {kind}; name a weights file or a finished "
            "run's encoder, or choose the encoder vit-b16 or rn50"
        )
    published, failure = dict(PUBLISHED[kind]), None
    # OpenAI's own archive first, because open_clip checks its digest.
    for prefers_hub in (False, True):
        try:
            path = Path(fetch(published, prefer_hf_hub=prefers_hub))
        except (OSError, HTTPException, RuntimeError) as error:
            failure = failure or error
            # Without a network, asking the hub would take a minute.
            if isinstance(getattr(error, "reason", None), gaierror):
                break
        else:
            options = {"activation": Activation.QUICK_GELU.value}
            return replace(read_weights_file(path), words="openai", options=options)
    raise EncoderError(
        f"OpenAI's weights for {kind} are not on this machine and cannot be downloaded "
        f"({failure}): fetch {published['url']} on a machine with network access and name the file "
        "in encoder.weights"
    ) from failure


def describe_cached_weights(archives: Path | None = None) -> dict[str, str]:
    """Describe for each kind whether weights are cached in open_clip's folder; needs no network."""
    folder = archives or Path.home() / ".cache" / "clip"
    return {kind: _describe(published, folder) for kind, published in PUBLISHED.items()}


def _describe(published: Mapping[str, str], folder: Path) -> str:
    from huggingface_hub import try_to_load_from_cache

    url = PurePosixPath(published["url"])
    archive, repository = folder / url.name, published["hf_hub"].rstrip("/")
    if archive.is_file():
        with archive.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() == url.parent.name:
                return "cached, as OpenAI's archive"
        return "cached, but damaged: it will be fetched again"
    if any(isinstance(try_to_load_from_cache(repository, name), str) for name in _HUB_FILES):
        return "cached, from the hub"
    return "not cached: fetched when first asked for"
