"""Whether an image's file is complete, as far as its format can tell.

Pillow silently decodes some damaged files: a JPEG that lacks data before its end mark, and a PNG
whose changed bytes still unpack.
"""

import zlib
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_SIGNATURE = b"\xff\xd8\xff"

_STUFFED = 0x00
_START_OF_SCAN = 0xDA
_END_OF_IMAGE = 0xD9
_RESTARTS = range(0xD0, 0xD8)
_PROGRESSIVE_FRAMES = (0xC2, 0xCA)
_BARE = frozenset({0x01, *_RESTARTS, 0xD8, _END_OF_IMAGE})  # markers without a segment
_FILLING = bytes((37 * place + 181) % 251 for place in range(96))
"""Bytes other than 255 that differ from zeros, which libjpeg puts in for missing data."""


def require_whole_png(content: bytes) -> None:
    """Check every chunk's checksum, or raise ValueError; Pillow skips those of the pixels."""
    place = len(PNG_SIGNATURE)
    while place < len(content):
        length = int.from_bytes(content[place : place + 4])
        kind, end = content[place + 4 : place + 8], place + 8 + length
        stored = content[end : end + 4]
        if len(stored) < 4:
            raise ValueError("the file is cut short")
        if zlib.crc32(memoryview(content)[place + 4 : end]) != int.from_bytes(stored):
            raise ValueError(f"the checksum of a part ({kind.decode('ascii', 'replace')}) is wrong")
        if kind == b"IEND":
            return
        place = end + 4
    raise ValueError("the file is cut short")


def require_whole_jpeg(
    content: bytes, pixels: NDArray[np.uint8], *, decode: Callable[[bytes], NDArray[np.uint8]]
) -> None:
    """Check that a JPEG's scans hold all data of its pixels.

    libjpeg fills in missing data, and Pillow drops its warning. A complete scan ignores bytes
    between its end and the next marker, but a scan that is cut short decodes them. So the image is
    decoded again with such bytes inserted, and must not change from the `pixels` that `decode`, a
    decoder by libjpeg, made of it.

    Raises:
        ValueError: The end is missing, or a scan or part of one.
        IndexError: A segment is cut short.
    """
    _require_all_scans(content)
    if not np.array_equal(decode(_with_filling(content)), pixels):
        raise ValueError("the image's data end too early")


def _with_filling(content: bytes) -> bytes:
    """Insert bytes behind the data of all scans.

    A scan that is cut between two restarts decodes no more than the next restart, so add that, too.
    """
    parts: list[bytes] = []
    start = num_restarts = 0
    is_in_data = False
    for place, marker in _markers(content):
        if is_in_data:
            parts += [content[start:place], _FILLING]
            start = place
            if marker not in _RESTARTS:
                parts += [bytes((0xFF, _RESTARTS[num_restarts % 8])), _FILLING]
        is_in_data = marker == _START_OF_SCAN or (is_in_data and marker in _RESTARTS)
        num_restarts = num_restarts + 1 if marker in _RESTARTS else 0
    return b"".join([*parts, content[start:]])


def _require_all_scans(content: bytes) -> None:
    """Check that a progressive JPEG's scans hold every bit of every coefficient."""
    missing: set[tuple[int, int]] = set()
    for place, marker in _markers(content):
        segment = content[place + 4 :]
        if marker in _PROGRESSIVE_FRAMES:
            components = segment[6 : 6 + 3 * segment[5] : 3]
            missing = {(one, coefficient) for one in components for coefficient in range(64)}
        elif marker == _START_OF_SCAN and missing:
            first, last, bits = segment[1 + 2 * segment[0] :][:3]
            if bits & 15 == 0:
                named = segment[1 : 1 + 2 * segment[0] : 2]
                missing -= {(one, row) for one in named for row in range(first, last + 1)}
    if missing:
        raise ValueError("the image's data end too early")


def _markers(content: bytes) -> Iterator[tuple[int, int]]:
    """Iterate over markers, skipping segments and data, up to the end mark."""
    place = 0
    while True:
        place = content.find(b"\xff", place)
        if place < 0 or place + 1 >= len(content):
            raise ValueError("the file is cut short: it has no end mark")
        marker = content[place + 1]
        if marker == 0xFF:
            place += 1
            continue
        if marker != _STUFFED:
            yield place, marker
        if marker == _END_OF_IMAGE:
            return
        place += 2
        if marker != _STUFFED and marker not in _BARE:
            place += int.from_bytes(content[place : place + 2])
