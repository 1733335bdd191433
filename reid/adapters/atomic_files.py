"""Files that are written as a whole or not at all."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from reid.domain.errors import CheckpointError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

_OPEN_FILES = Path("/proc/self/fd")  # Linux's names of a process's open files


def replace_file(path: Path, content: bytes) -> None:
    """Replace `path` in one step, flushed to the disk; a `CheckpointError` says why it failed."""
    try:
        with replaced(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise cannot_be_written(path, error) from error


@contextmanager
def replaced(path: Path, *, temporary: Path | None = None) -> Iterator[Path]:
    """Yield the name of a file to write, which replaces `path` once it is on the disk.

    The name is `temporary`, in the same folder, or a hidden one that ends in `.tmp`. If the file
    cannot be written, `path` is unchanged and nothing else is left.
    """
    temporary = temporary or _beside(path)
    try:
        yield temporary
        sync_file(temporary)
        temporary.replace(path)
        sync_folder(path.parent)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """Yield a file that gets its name once it is complete and on the disk; nothing is overwritten.

    On file systems with unnamed files, such as Linux's, a killed process leaves nothing; on others
    it can leave a hidden file that ends in `.tmp`. A taken name is a `FileExistsError`.
    """
    temporary = _beside(path)
    unnamed = _open_unnamed(path.parent)
    try:
        with unnamed or temporary.open("w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            if unnamed is not None:
                _give_name(file, path)
        if unnamed is None:
            _take_name(temporary, path)
        sync_folder(path.parent)
    finally:
        if unnamed is None:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def sync_file(path: Path) -> None:
    """Flush a file to the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Flush a folder's list of names to the disk."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def cannot_be_written(path: Path, error: OSError) -> CheckpointError:
    """Return the error about a failed write, which leaves earlier files unchanged."""
    advice = "free some space" if error.errno in _FULL else "make its folder writable"
    return CheckpointError(
        f"{path} cannot be written: {error.strerror or error}; {advice} or name another one, and "
        "try again: earlier files are as they were"
    )


def cannot_be_made(folder: Path, error: OSError) -> CheckpointError:
    """Return the error about a folder that could not be made."""
    advice = "free some space" if error.errno in _FULL else "make the folder above it writable"
    return CheckpointError(
        f"{folder} cannot be made: {error.strerror or error}; {advice} or name another one"
    )


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def _open_unnamed(folder: Path) -> BinaryIO | None:
    """Open a file that ends with the process; None where folder or system cannot do that."""
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
        # Python follows the link only where a folder is given.
        os.link(_OPEN_FILES / str(file.fileno()), path, src_dir_fd=folder, follow_symlinks=True)
    finally:
        os.close(folder)


def _take_name(temporary: Path, path: Path) -> None:
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except (OSError, NotImplementedError):
        # No second names on this file system: another file can take the name in between.
        if path.exists():
            raise FileExistsError(str(path)) from None
        temporary.replace(path)
