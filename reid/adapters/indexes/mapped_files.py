"""Files of indexes, mapped into memory in large pages where the system has them.

A search touches thousands of places all over a file, and the first touch of each page has a cost. A
large file has too many of Linux's ordinary pages of 4 KiB. On request, Linux reads a file in pages
of 2 MiB, unless it is still cached in small pages since it was written; such a file is dropped from
the cache and read again. With a million vectors of 1280-d, opening a graph and the first query are
then two to three times as fast. Other systems map files in ordinary pages.
"""

import mmap
import os
from pathlib import Path

import numpy as np

_LARGE_PAGE = 2**21


def map_file(path: Path, num_bytes: int) -> np.ndarray:
    """Map the first bytes of a file.

    The array is writable, as torch wants it, but changes stay in memory.

    Raises:
        OSError: It cannot be read.
        ValueError: It is shorter than that, or empty.
    """
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), num_bytes, access=mmap.ACCESS_COPY)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        mapped.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(mapped, dtype=np.uint8)


def read_anew(path: Path) -> None:
    """Drop a file on the disk from the system's cache, and read it in large pages.

    Raises:
        OSError: It cannot be read.
    """
    if not hasattr(os, "posix_fadvise") or path.stat().st_size < _LARGE_PAGE:
        return
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    # Reading a byte loads the whole page.
    map_file(path, path.stat().st_size)[::_LARGE_PAGE].sum()
