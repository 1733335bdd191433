"""New files that are there as a whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from reid.adapters.folders import sync_folder

_OPEN_FILES = Path("/proc/self/fd")
"""Where Linux gives names to a process's open files."""


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """Give a file that takes its name once it is whole and on the disk; nothing is overwritten.

    Where the file system knows files without a name (those of Linux do), a process that is killed
    leaves nothing; elsewhere it can leave a hidden one that ends in `.tmp`.

    Raises:
        FileExistsError: The name is taken.
        OSError: It cannot be written; nothing is left then.
    """
    unnamed = _open_unnamed(path.parent)
    if unnamed is None:
        with _named_aside(path) as file:
            yield file
        return
    with unnamed:
        yield unnamed
        _flush(unnamed)
        _give_name(unnamed, path)
    sync_folder(path.parent)


def _open_unnamed(folder: Path) -> BinaryIO | None:
    """Open a file that goes with the process; None: not here, or not by this system."""
    flag = getattr(os, "O_TMPFILE", None)
    if flag is None or not _OPEN_FILES.is_dir():
        return None
    try:
        return os.fdopen(os.open(folder, flag | os.O_RDWR, 0o666), "w+b")
    except OSError:
        return None


def _give_name(file: BinaryIO, path: Path) -> None:
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        # Only with a folder does Python ask for the file behind the link.
        os.link(_OPEN_FILES / str(file.fileno()), path, src_dir_fd=folder, follow_symlinks=True)
    finally:
        os.close(folder)


@contextmanager
def _named_aside(path: Path) -> Iterator[BinaryIO]:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w+b") as file:
            yield file
            _flush(file)
        _take_name(temporary, path)
        sync_folder(path.parent)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _take_name(temporary: Path, path: Path) -> None:
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except (OSError, NotImplementedError):
        # No second names on this file system: another file can come in between.
        if path.exists():
            raise FileExistsError(str(path)) from None
        temporary.replace(path)


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
