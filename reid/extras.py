"""Packages: which ones matter, what each optional one gives, and how to get it."""

import platform
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from reid.domain.errors import ConfigurationError

RECORDED_PACKAGES = ("clip-reid", "torch", "open_clip_torch", "numpy", "pillow")
"""Whose versions every run records, beside those of `EXTRAS`."""

PACKAGES = (*RECORDED_PACKAGES, "scipy", "safetensors", "pydantic", "huggingface_hub", "annoy")
"""Whose versions a bug report tells."""


@dataclass(frozen=True, slots=True)
class Extra:
    """A package that gives something more and that nothing else needs."""

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
"""Likewise; they change no result, so that no run records them."""


def installed_version(package: str) -> str | None:
    """Tell a package's version; None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def versions_of(packages: Iterable[str]) -> dict[str, str | None]:
    """Note Python's version and those of packages; None for those that are not installed."""
    return {
        "python": platform.python_version(),
        **{name: installed_version(name) for name in packages},
    }


def describe_extra(extra: Extra) -> str:
    """Say in a line whether an optional package is used."""
    found = installed_version(extra.package)
    if found is not None:
        return f"{extra.package} {found} {extra.gives}"
    return (
        f"{extra.package} is not installed ({extra.otherwise}): "
        f"pip install 'clip-reid[{extra.extra}]'"
    )


@contextmanager
def needed_for(what: str, *, package: str) -> Iterator[None]:
    """Turn a failing import of an optional package into what to do about it.

    Args:
        what: What cannot be had without it, for the message.
        package: One of `EXTRAS` or `UNRECORDED_EXTRAS`.

    Raises:
        ConfigurationError: The import in the block fails; the message tells a package that is
            missing from one that is installed and broken.
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
