"""Images in every format, and the ways in which their files go bad."""

import struct
import zlib
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]


def scene(*, height: int = 40, width: int = 20, seed: int = 0) -> Image.Image:
    """A smooth image, so that a JPEG of it is near to it."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 3, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    content = BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def decode(content: bytes) -> Pixels:
    with Image.open(BytesIO(content)) as image:
        return np.asarray(image.convert("RGB"))


def png_chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def with_chunk(content: bytes, chunk: bytes) -> bytes:
    """Put a chunk behind a PNG's header."""
    return content[:33] + chunk + content[33:]


def bomb(*, side: int = 30_000) -> bytes:
    """A PNG of a few hundred kilobytes that says and holds `side` x `side` black pixels."""
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((1 + side // 8) * side), 9)
    chunks = (png_chunk(b"IHDR", header), png_chunk(b"IDAT", rows), png_chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
