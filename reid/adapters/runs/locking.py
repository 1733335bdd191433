"""A lock on a run's folder that ends with its process."""

import errno
import os
import socket
import sys
from contextlib import suppress
from pathlib import Path

from reid.domain.errors import CheckpointError

if sys.platform != "win32":
    import fcntl

LOCK = ".training.lock"

_CANNOT_LOCK = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
_MOST_HOLDER_BYTES = 200


class FolderLock:
    """An advisory lock on a file in a folder.

    The system releases it when its process ends, even when it is killed. File systems without
    locks, and Windows, are not protected.
    """

    def __init__(self, folder: Path) -> None:
        """Keep the folder's name; nothing is touched yet."""
        self._folder = folder
        self._path = folder / LOCK
        self._opened: int | None = None

    @property
    def is_held(self) -> bool:
        """Whether this object holds the folder."""
        return self._opened is not None

    def take(self) -> None:
        """Hold the folder until `release`, or until the process ends.

        Raises:
            CheckpointError: Another process holds it.
            OSError: The folder cannot be written.
        """
        while self._opened is None:
            opened = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                if self._locks(opened):
                    self._opened = opened
                    # For messages only: a full disk does not matter here.
                    with suppress(OSError):
                        os.truncate(opened, 0)
                        os.write(
                            opened, f"process {os.getpid()} on {socket.gethostname()}".encode()
                        )
            finally:
                if self._opened is None:
                    os.close(opened)

    def release(self) -> None:
        """Release the folder, if it is held."""
        if self._opened is not None:
            # Removed while it is held, so that a process that has just opened it notices.
            with suppress(OSError):
                self._path.unlink(missing_ok=True)
            os.close(self._opened)
            self._opened = None

    def _locks(self, opened: int) -> bool:
        """Lock an open file; False where its name was given to another file meanwhile."""
        if sys.platform != "win32":
            try:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                holder = os.read(opened, _MOST_HOLDER_BYTES).decode(errors="replace")
                raise CheckpointError(
                    f"{self._folder} is in use by another training ({holder or 'another process'}):"
                    " wait for its end, or name another run.directory"
                ) from error
            except OSError as error:
                if error.errno not in _CANNOT_LOCK:
                    raise
        with suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(opened), self._path.stat())
        return False
