"""Cameras of the drawn data set: each has its own colours, light, blur and place.

Letters: H W pixels.
"""

from random import Random
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from reid.adapters.synthetic.people import Colour
from reid.domain.values.samples import ImageSize

Pixels: TypeAlias = NDArray[np.floating]  # (H, W, 3) RGB in 0..255

GROUNDS: tuple[Colour, ...] = (
    (136, 136, 138), (96, 128, 72), (176, 160, 132), (150, 104, 88), (112, 116, 126),
    (196, 192, 184),
)  # fmt: skip
WALLS: tuple[Colour, ...] = (
    (170, 150, 130), (70, 98, 62), (148, 156, 168), (128, 74, 62), (206, 200, 186), (86, 90, 100),
)  # fmt: skip

_PANORAMA_WIDTH, _PANORAMA_HEIGHT = 5, 1.25  # size of a camera's view, in images


class Camera:
    """Colours, light, blur and place that all images of one camera share."""

    def __init__(self, random: Random, *, number: int, size: ImageSize) -> None:
        """Set up at random; neighbouring numbers get different places and colour casts."""
        warmth = random.uniform(0.08, 0.24) * (1 if number % 2 else -1)
        cast = np.array([1 + warmth, 1 + random.uniform(-0.1, 0.1), 1 - warmth], dtype=np.float32)
        self._gains = cast * np.float32(random.uniform(0.72, 1.18))
        self._contrast = np.float32(random.uniform(0.7, 1.1))
        self._blur = random.uniform(0.3, 0.85)  # standard deviation in pixels of an image 128 high
        self._noise = random.uniform(4.0, 12.0)  # the largest error of a pixel value
        self._light = random.uniform(-1.0, 1.0)  # the side from which light falls on people
        # Radians: where most people face, since they walk along one path.
        self.favourite_yaw = random.uniform(0.0, 6.283)
        self._panorama = _paint_panorama(random, number=number, size=size)

    def photograph(self, figures: Image.Image, random: Random) -> Image.Image:
        """Take an RGB image of RGBA figures before a random part of the camera's place."""
        width, height = figures.size
        left = random.randint(0, self._panorama.width - width)
        top = random.randint(0, self._panorama.height - height)
        scene = self._panorama.crop((left, top, left + width, top + height))
        side = np.linspace(-0.3, 0.3, width, dtype=np.float32)[None, :, None] * self._light
        folds = _waves(random, height=height, width=width, cell=height // 12 + 1) * np.float32(0.2)
        layers = np.asarray(figures, dtype=np.float32)  # (H, W, 4)
        alpha = layers[..., 3:] / 255  # (H, W, 1)
        lit = layers[..., :3] * (1 + side + folds[..., None])
        seen = np.asarray(scene, dtype=np.float32) * (1 - alpha) + lit * alpha
        toned = (seen - 118) * self._contrast + 118
        exposed = _image(toned * self._gains * np.float32(random.uniform(0.92, 1.08)))
        blurred = exposed.filter(ImageFilter.GaussianBlur(self._blur * height / 128))
        errors = np.frombuffer(random.randbytes(height * width * 3), dtype=np.uint8)
        error = (errors.reshape(height, width, 3).astype(np.float32) / 128 - 1) * self._noise
        return _image(np.asarray(blurred, dtype=np.float32) + error)


def _image(pixels: Pixels) -> Image.Image:
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _paint_panorama(random: Random, *, number: int, size: ImageSize) -> Image.Image:
    """Paint uneven ground, a wall, and pillars, windows and bushes along it."""
    height, width = round(size.height * _PANORAMA_HEIGHT), size.width * _PANORAMA_WIDTH
    wall = WALLS[(number * 5 + random.randrange(2)) % len(WALLS)]
    horizon = round(height * random.uniform(0.3, 0.55))
    image = Image.new("RGB", (width, height), GROUNDS[number % len(GROUNDS)])
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, width, horizon), fill=wall)
    for _ in range(14):
        x, breadth = random.randrange(width), random.randint(width // 60 + 1, width // 14 + 1)
        colour = random.choice((wall, *random.sample(WALLS, 2)))
        red, green, blue = (int(part * random.uniform(0.6, 1.2)) for part in colour)
        top, bottom = random.choice(
            ((0, horizon), (horizon // 6, horizon * 2 // 3), (horizon - breadth, horizon + 1))
        )
        draw.rectangle((x, min(top, bottom), x + breadth, bottom), fill=(red, green, blue))
    blurred = image.filter(ImageFilter.GaussianBlur(size.height / 128))
    pixels = np.asarray(blurred, dtype=np.float32)
    for cell, strength in ((24, 26), (6, 14), (2, 10)):  # from patches of light to pebbles
        uneven = _waves(random, height=height, width=width, cell=cell)
        pixels = pixels + uneven[..., None] * np.float32(strength)
    return _image(pixels)


def _waves(random: Random, *, height: int, width: int, cell: int) -> Pixels:
    """Make smooth noise of (H, W) in -0.5..0.5, a hill or valley in each cell."""
    rows, columns = height // cell + 1, width // cell + 1
    values = np.frombuffer(random.randbytes(rows * columns), np.uint8).reshape(rows, columns)
    stretched = Image.fromarray(values).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(stretched, dtype=np.float32) / 255 - 0.5
