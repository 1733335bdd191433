"""Image files: which files of a folder are images, and what they contain."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

IMAGE_ENDINGS = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp"})
"""File endings that count as images, in any case."""

MOST_BYTES = 512 * 2**20
"""Largest image file; the most pixels that Pillow accepts fit into it uncompressed."""

_UNWRITABLE = re.compile(r"\\x[0-9a-f]{2}")  # how `readable_name` writes bytes that are not UTF-8


def is_image_name(name: str) -> bool:
    """Distinguish images from other files by their ending; dot files are never images."""
    return not name.startswith(".") and Path(name).suffix.lower() in IMAGE_ENDINGS


def readable_name(name: str) -> str:
    r"""Write bytes of a file's name that are not UTF-8 as `\xff`, for lists and messages.

    Intentionally, such an image cannot be read by the returned name, as no list, table or gallery
    can hold its own.
    """
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def image_names(root: Path, *, below: bool) -> Iterator[str]:
    """Name the images in a folder, in no order, by their path from there.

    Every other file is passed over here, and nowhere else. A folder that is named like an image is
    listed where nothing in it is, so that an error reports it. `below` lists sub-folders, too,
    except dot folders.

    Raises:
        OSError: A folder cannot be listed.
    """
    for folder, subfolders, files in os.walk(root, onerror=_refuse_unlisted):
        inside = Path(folder).relative_to(root)
        if not below:
            files += subfolders
            subfolders.clear()
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        for name in filter(is_image_name, files):
            yield readable_name((inside / name).as_posix())
        if not files and not subfolders and is_image_name(inside.name):
            yield readable_name(inside.as_posix())


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


def _refuse_unlisted(error: OSError) -> NoReturn:
    """Raise an error, where os.walk would silently skip the folder."""
    raise error


def _reason_absent(path: Path) -> str:
    if path.exists():
        return "not a regular file"
    if path.is_symlink():
        return "a link to a file that is not there"
    if _UNWRITABLE.search(str(path)):
        return "its name is not UTF-8; rename it"
    return "no such file"
