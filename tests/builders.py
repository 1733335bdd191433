"""A Market-1501 folder of two-coloured people, small and quick enough for every test."""

import colorsys
import random
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from reid.domain.values.samples import ImageSize

SMALL = ImageSize(64, 32)


def train_pids(identities: int) -> list[int]:
    return [3 * number + 2 for number in range(identities)]


def query_pids(identities: int) -> list[int]:
    return [3 * number + 1 for number in range(identities)]


def build_market1501(
    root: Path,
    *,
    identities: int = 8,
    cameras: int = 2,
    images_per_camera: int = 2,
    test_identities: int = 4,
    distractors: int = 2,
    junk: int = 1,
    size: ImageSize = SMALL,
    seed: int = 0,
) -> Path:
    """Fill `root` (made if missing) with the three folders of Market-1501 and return it.

    Train pids are 2, 5, 8, ..., test pids 1, 4, 7, ...; a query is each test person's first
    image in each camera, so at least two images per camera leave the gallery full.
    """
    painter = Painter(size=size, seed=seed)
    train, query, gallery = (
        root / folder for folder in ("bounding_box_train", "query", "bounding_box_test")
    )
    for folder in (train, query, gallery):
        folder.mkdir(parents=True)
        (folder / "Thumbs.db").write_bytes(b"not an image")
    for pid, camid, shot in product(
        train_pids(identities), range(cameras), range(images_per_camera)
    ):
        painter.paint(train, pid, camid, shot)
    for pid, camid, shot in product(
        query_pids(test_identities), range(cameras), range(max(images_per_camera, 2))
    ):
        painter.paint(query if shot == 0 else gallery, pid, camid, shot)
    for number in range(distractors):
        painter.paint(gallery, 0, number % cameras, number)
    for number in range(junk):
        painter.paint(gallery, -1, number % cameras, number)
    return root


class Painter:
    """Draws an upper and a lower colour per person, a tint per camera, noise per image."""

    def __init__(self, *, size: ImageSize, seed: int) -> None:
        self._size = size
        self._random = random.Random(seed)

    def paint(self, folder: Path, pid: int, camid: int, shot: int) -> None:
        prefix = "-1" if pid == -1 else f"{pid:04d}"
        self.save(folder / f"{prefix}_c{camid + 1}s1_{shot:06d}_00.jpg", pid, camid)

    def save(self, path: Path, pid: int, camid: int) -> None:
        """Paint an image in the format that its name's ending tells."""
        person = pid if pid > 0 else self._random.randrange(10_000, 20_000)
        height, width = self._size.height, self._size.width
        pixels = np.full((height, width, 3), 120.0, dtype=np.float32)
        left = width // 5 + self._random.randint(-1, 1)
        pixels[height // 6 : height // 2, left : width - left] = _colour(person * 0.618)
        pixels[height // 2 :, left : width - left] = _colour(person * 0.377 + 0.5)
        pixels += np.float32(8 * camid)
        pixels += self._noise((height, width, 3))
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=92)

    def _noise(self, shape: tuple[int, int, int]) -> NDArray[np.float32]:
        values = np.frombuffer(self._random.randbytes(int(np.prod(shape))), dtype=np.uint8)
        return ((values.reshape(shape) - 127.5) / 16).astype(np.float32)


def _colour(hue: float) -> NDArray[np.float32]:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, 0.8, 0.9)
    return np.array([255 * red, 255 * green, 255 * blue]).astype(np.float32)
