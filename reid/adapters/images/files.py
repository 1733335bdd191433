"""Image files: which files are images, and what they contain."""

import os
import re
from pathlib import Path

IMAGE_ENDINGS = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp"})
"""File endings that count as images, in any case."""

MOST_BYTES = 512 * 2**20
"""Largest image file; the most pixels that Pillow accepts fit into it uncompressed."""

_UNWRITABLE = re.compile(r"\\x[0-9a-f]{2}")
"""How `readable_name` writes bytes that are not UTF-8."""


def is_image_name(name: str) -> bool:
    """Distinguish images from other files by their ending; dot files are never images."""
    return not name.startswith(".") and Path(name).suffix.lower() in IMAGE_ENDINGS


def readable_name(name: str) -> str:
    r"""Write bytes of a file's name that are not UTF-8 as `\xff`, for lists and messages.

    Intentionally, such an image cannot be read by the returned name, as no list, table or gallery
    can hold its own.
    """
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def read_file(path: Path) -> bytes:
    """Read a regular file.

    Raises:
        OSError: It is not a regular file, or too large, or cannot be read.
    """
    # A named pipe would block without end, a device could do anything.
    if not path.is_file():
        raise OSError(_reason_absent(path))
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise OSError(f"{size // 2**20} MiB, more than any image's {MOST_BYTES // 2**20}")
    return path.read_bytes()


def _reason_absent(path: Path) -> str:
    if path.exists():
        return "not a regular file"
    if path.is_symlink():
        return "a link to a file that is not there"
    if _UNWRITABLE.search(str(path)):
        return "its name is not UTF-8; rename it"
    return "no such file"
