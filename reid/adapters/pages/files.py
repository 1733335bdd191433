"""Pages and charts written to files."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from reid.adapters.atomic_files import cannot_be_made, replace_file

Rasterise: TypeAlias = Callable[[str], bytes]
"""Turns an SVG document into a PNG."""

PNG = ".png"


def write_page(path: Path, text: str) -> None:
    """Replace a file in one step, and make its folder where it is missing.

    Lone surrogates, as in file names that are not Unicode, are escaped.

    Raises:
        CheckpointError: The place cannot be written.
    """
    _replace(path, text.encode(errors="backslashreplace"))


def write_chart(path: Path, svg: str, *, rasterise: Rasterise | None) -> None:
    """Replace a file by a chart, as PNG where its name ends in `.png`, else as SVG.

    Raises:
        CheckpointError: The place cannot be written.
        ValueError: A PNG is wanted, and nothing makes one.
    """
    if path.suffix.lower() != PNG:
        write_page(path, svg)
    elif rasterise is None:
        raise ValueError(f"{path}: nothing makes a PNG of a chart")
    else:
        _replace(path, rasterise(svg))


def _replace(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_be_made(path.parent, error) from error
    replace_file(path, content)
