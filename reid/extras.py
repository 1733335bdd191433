"""Packages: recorded versions, and optional packages with what each adds."""

import platform
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from reid.domain.errors import ConfigurationError

RECORDED_PACKAGES = ("clip-reid", "torch", "open_clip_torch", "numpy", "pillow")
"""Packages whose versions every run records, besides those of `EXTRAS`."""

PACKAGES = (*RECORDED_PACKAGES, "scipy", "safetensors", "pydantic", "huggingface_hub", "annoy")
"""Packages whose versions a bug report lists."""


@dataclass(frozen=True, slots=True)
class Extra:
    """An optional package."""

    package: str
    extra: str
    """Name in `pip install 'clip-reid[...]'`."""

    gives: str
    otherwise: str
    """What happens without it."""


EXTRAS = (
    Extra("simplejpeg", "fast", "decodes JPEGs", otherwise="Pillow does, slower, the same pixels"),
    Extra("openvino", "openvino", "runs encoders exported for it", otherwise="torch runs encoders"),
    Extra("faiss-cpu", "hnsw", "searches by HNSW", otherwise="the exact index and Annoy search"),
    Extra("fastapi", "serve", "answers over HTTP", otherwise="reid serve cannot be used"),
    Extra("scikit-learn", "plots", "makes the map of a page", otherwise="pages have no map"),
    Extra("onnxruntime", "onnx", "runs encoders exported for it", otherwise="torch runs encoders"),
)

UNRECORDED_EXTRAS = (
    Extra("resvg-py", "plots", "draws charts as PNG", otherwise="charts are SVG files"),
    Extra(
        "psycopg",
        "postgres",
        "keeps galleries in PostgreSQL",
        otherwise="galleries are folders",
    ),
    Extra("pymilvus", "milvus", "keeps galleries in Milvus", otherwise="galleries are folders"),
)
"""Optional packages that change no result, so no run records them."""


def installed_version(package: str) -> str | None:
    """Return a package's version; None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def versions_of(packages: Iterable[str]) -> dict[str, str | None]:
    """Return the versions of Python and of packages; None for missing ones."""
    return {
        "python": platform.python_version(),
        **{name: installed_version(name) for name in packages},
    }


def describe_extra(extra: Extra) -> str:
    """Describe in a line whether an optional package is used."""
    found = installed_version(extra.package)
    if found is not None:
        return f"{extra.package} {found} {extra.gives}"
    return (
        f"{extra.package} is not installed ({extra.otherwise}): "
        f"pip install 'clip-reid[{extra.extra}]'"
    )


@contextmanager
def needed_for(what: str, *, package: str) -> Iterator[None]:
    """Turn a failing import of an optional package in the block into advice.

    Args:
        what: The feature that needs it, for the message.
        package: A package of `EXTRAS` or `UNRECORDED_EXTRAS`.

    Raises:
        ConfigurationError: The package is missing, or installed and broken.
    """
    try:
        yield
    except ImportError as error:
        known = (*EXTRAS, *UNRECORDED_EXTRAS)
        extra = next(extra.extra for extra in known if extra.package == package)
        found = installed_version(package)
        if found is None:
            reason, install = "is not installed", "pip install"
        else:
            reason = (
                f"is installed ({found}) and cannot be imported: {type(error).__name__}: {error}"
            )
            install = "pip install --upgrade"
        raise ConfigurationError(
            f"{what} needs {package}, which {reason}: {install} 'clip-reid[{extra}]'"
        ) from error
