"""Files of which there is always a whole one: the old or the new, whatever happens in between."""

import errno
import os
from contextlib import suppress
from pathlib import Path

from reid.adapters.folders import sync_folder
from reid.domain.errors import CheckpointError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def replace_file(path: Path, content: bytes) -> None:
    """Write a temporary file beside `path`, flush it to disk, and rename it over `path`.

    Raises:
        CheckpointError: The folder cannot be written or the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise cannot_be_written(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def cannot_be_written(path: Path, error: OSError) -> CheckpointError:
    """Word a failed write: what was there before is there still."""
    advice = "free some space" if error.errno in _FULL else "make its folder writable"
    return CheckpointError(
        f"{path} cannot be written: {error.strerror or error}; {advice} or name another one, and "
        "try again: earlier files are as they were"
    )


def cannot_be_made(folder: Path, error: OSError) -> CheckpointError:
    """Word a folder that could not be made."""
    advice = "free some space" if error.errno in _FULL else "make the folder above it writable"
    return CheckpointError(
        f"{folder} cannot be made: {error.strerror or error}; {advice} or name another one"
    )
