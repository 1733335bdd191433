"""Optional packages: what each gives, whether it is installed, and how to get it."""

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version


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


def installed_version(package: str) -> str | None:
    """Tell a package's version; None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def describe_extra(extra: Extra) -> str:
    """Say in a line whether an optional package is used."""
    found = installed_version(extra.package)
    if found is not None:
        return f"{extra.package} {found} {extra.gives}"
    return (
        f"{extra.package} is not installed ({extra.otherwise}): "
        f"pip install 'clip-reid[{extra.extra}]'"
    )
