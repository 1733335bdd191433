"""Folders on the disk."""

import os
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Flush a folder's list of names to the disk.

    Raises:
        OSError: It cannot be done.
    """
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
