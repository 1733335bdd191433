"""Packages: recorded versions, and optional packages with what each adds."""

import platform
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from reid.domain.errors import ConfigurationError

_PACKAGES = ("clip-reid", "torch", "open_clip_torch", "numpy", "pillow")

PACKAGES = (*_PACKAGES, "scipy", "safetensors", "pydantic", "huggingface_hub", "annoy")
"""Packages whose versions a bug report lists."""


@dataclass(frozen=True, slots=True)
class Extra:
    """An optional package."""

    package: str
    extra: str  # name in `pip install 'clip-reid[...]'`
    gives: str
    otherwise: str  # what happens without it


EXTRAS = (
    Extra("simplejpeg", "fast", "decodes JPEGs", "Pillow does, slower, the same pixels"),
    Extra("openvino", "openvino", "runs encoders exported for it", "torch runs encoders"),
    Extra("faiss-cpu", "hnsw", "searches by HNSW", "the exact index and Annoy search"),
    Extra("fastapi", "serve", "answers over HTTP", "reid serve cannot be used"),
    Extra("scikit-learn", "plots", "makes the map of a page", "pages have no map"),
    Extra("onnxruntime", "onnx", "runs encoders exported for it", "torch runs encoders"),
    Extra("nncf", "quantize", "exports to int8", "exports are in fp32 or bf16"),
    Extra("resvg-py", "plots", "draws charts as PNG", "charts are SVG files"),
    Extra("psycopg", "postgres", "keeps galleries in PostgreSQL", "galleries are folders"),
    Extra("pymilvus", "milvus", "keeps galleries in Milvus", "galleries are folders"),
)

_CHANGE_NO_RESULT = {"nncf", "resvg-py", "psycopg", "pymilvus"}
RECORDED_PACKAGES = (
    *_PACKAGES,
    *(extra.package for extra in EXTRAS if extra.package not in _CHANGE_NO_RESULT),
)
"""Packages whose versions every run records."""


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
    """Turn a failing import of a package of `EXTRAS`, needed for `what`, into advice.

    Raises:
        ConfigurationError: The package is missing, or installed and broken.
    """
    try:
        yield
    except ImportError as error:
        extra = next(extra.extra for extra in EXTRAS if extra.package == package)
        found = installed_version(package)
        reason, install = "is not installed", "pip install"
        if found is not None:
            cause = f"{type(error).__name__}: {error}"
            reason = f"is installed ({found}) and cannot be imported: {cause}"
            install = "pip install --upgrade"
        raise ConfigurationError(
            f"{what} needs {package}, which {reason}: {install} 'clip-reid[{extra}]'"
        ) from error
