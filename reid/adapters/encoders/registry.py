"""The built-in kinds of encoders; a new kind is one line here. Loads no torch."""

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING

from reid.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from reid.adapters.encoders.architecture import Architecture

FAMILIES: Mapping[str, str] = {
    "rn50": "resnet",
    "vit-b16": "vision_transformer",
    "rn-tiny": "resnet",
    "vit-tiny": "vision_transformer",
}
"""Names of kinds in settings, and the modules of this package whose `ARCHITECTURES` hold them."""


def architectures() -> "dict[str, Architecture]":
    """Load all built-in kinds, by name."""
    return {kind: architecture_named(kind) for kind in FAMILIES}


def architecture_named(kind: str | None) -> "Architecture":
    """Load a kind from settings.

    Raises:
        ConfigurationError: The kind is unknown or missing.
    """
    known = ", ".join(FAMILIES)
    if kind is None:
        raise ConfigurationError(f"encoder.kind: no encoder named; choose one of {known}")
    if kind not in FAMILIES:
        raise ConfigurationError(f"encoder.kind: {kind!r} is unknown; choose one of {known}")
    family = import_module(f"reid.adapters.encoders.{FAMILIES[kind]}")
    offered: tuple[Architecture, ...] = family.ARCHITECTURES
    return next(architecture for architecture in offered if architecture.kind == kind)
