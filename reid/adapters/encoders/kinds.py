"""The built-in kinds of encoders.

A new kind is an entry here, and a line of `reid/container/registry.py`, which loads no torch.
"""

from reid.adapters.encoders.architecture import Architecture, TextConfiguration
from reid.adapters.encoders.resnet import ResNetArchitecture
from reid.adapters.encoders.vision_transformer import ViTArchitecture
from reid.domain.errors import ConfigurationError
from reid.domain.values.samples import ImageSize

KINDS: dict[str, Architecture] = {
    architecture.kind: architecture
    for architecture in (
        ResNetArchitecture(
            kind="rn50",
            layers=(3, 4, 6, 3),
            width=64,
            projected_width=1024,
            text=TextConfiguration(width=512, layers=12),
            image_size=ImageSize(256, 128),
        ),
        ViTArchitecture(
            kind="vit-b16",
            layers=12,
            width=768,
            projected_width=512,
            text=TextConfiguration(width=512, layers=12),
            image_size=ImageSize(256, 128),
        ),
        ResNetArchitecture(
            kind="rn-tiny",
            layers=(1, 1, 1, 1),
            width=16,
            projected_width=64,
            text=TextConfiguration(width=64, layers=2),
            image_size=ImageSize(128, 64),
        ),
        ViTArchitecture(
            kind="vit-tiny",
            layers=12,
            width=64,
            projected_width=32,
            text=TextConfiguration(width=64, layers=2),
            image_size=ImageSize(128, 64),
        ),
    )
}
"""By their names in settings. The tiny ones are for trials and tests on a CPU."""


def kind_named(name: str | None) -> Architecture:
    """Look up a kind from settings.

    Raises:
        ConfigurationError: The kind is unknown or missing.
    """
    if name in KINDS:
        return KINDS[name]
    problem = "no encoder named" if name is None else f"{name!r} is unknown"
    raise ConfigurationError(f"encoder.kind: {problem}; choose one of {', '.join(KINDS)}")
