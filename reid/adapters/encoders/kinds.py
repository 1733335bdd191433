"""The built-in kinds and families of encoders; a new one is one line here. Loads no torch."""

from pkgutil import resolve_name
from typing import TYPE_CHECKING

from reid.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from reid.adapters.encoders.architecture import Architecture

KINDS = {  # their architectures, by their names in settings
    "rn50": "reid.adapters.encoders.resnet:RN50",
    "vit-b16": "reid.adapters.encoders.vision_transformer:VIT_B16",
    "rn-tiny": "reid.adapters.encoders.resnet:RN_TINY",
    "vit-tiny": "reid.adapters.encoders.vision_transformer:VIT_TINY",
}

FAMILIES = {  # their factories; settings name a model of one as `FAMILY:MODEL`
    "open_clip": "reid.adapters.encoders.open_clip_encoder:create_open_clip_encoder",
    "timm": "reid.adapters.encoders.timm_encoder:create_timm_encoder",
}


def kind_named(name: str | None) -> "Architecture":
    """Look up a kind from settings.

    Raises:
        ConfigurationError: The kind is unknown or missing.
    """
    if name in KINDS:
        architecture: Architecture = resolve_name(KINDS[name])
        return architecture
    problem = "no encoder named" if name is None else f"{name!r} is unknown"
    raise ConfigurationError(f"encoder.kind: {problem}; choose one of {', '.join(KINDS)}")
