"""Cameras of the drawn data set: each has its own colours, light, blur, height and place.

Letters: H W pixels.
"""

from dataclasses import dataclass
from random import Random
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from reid.adapters.synthetic.people import Colour
from reid.domain.values.samples import ImageSize

Pixels: TypeAlias = NDArray[np.float32]
"""(H, W, 3) RGB in 0..255."""

_GROUNDS: tuple[Colour, ...] = (
    (136, 136, 138),
    (96, 128, 72),
    (176, 160, 132),
    (150, 104, 88),
    (112, 116, 126),
    (196, 192, 184),
)
_WALLS: tuple[Colour, ...] = (
    (170, 150, 130),
    (70, 98, 62),
    (148, 156, 168),
    (128, 74, 62),
    (206, 200, 186),
    (86, 90, 100),
)
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_PANORAMA_WIDTH, _PANORAMA_HEIGHT = 5, 1.25
"""Size of a camera's view, in pictures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """What is the same on all pictures of one camera."""

    gains: Pixels
    """(3,) factors of red, green and blue: the colour cast."""

    brightness: float
    contrast: float
    saturation: float
    blur: float
    """Standard deviation in pixels of a picture 128 high."""

    noise: float
    """Largest error of a pixel value."""

    light: float
    """-1..1: from which side the light falls on people."""

    leg_length: float
    """Below 1 for a camera that hangs high."""

    favourite_yaw: float
    """Radians: where most people face, since they walk along one path."""

    panorama: Pixels
    """(H', W', 3): the place before it is photographed."""

    clutter: tuple[Colour, ...]
    """Colours of what stands before people."""


def invent_camera(random: Random, *, number: int, size: ImageSize) -> Camera:
    """Set up a camera at random; neighbouring numbers get different places and colour casts."""
    warmth = random.uniform(0.08, 0.24) * (1 if number % 2 else -1)
    tint = random.uniform(-0.1, 0.1)
    return Camera(
        gains=np.array([1 + warmth, 1 + tint, 1 - warmth], dtype=np.float32),
        brightness=random.uniform(0.72, 1.18),
        contrast=random.uniform(0.75, 1.1),
        saturation=random.uniform(0.65, 1.1),
        blur=random.uniform(0.3, 0.85),
        noise=random.uniform(4.0, 12.0),
        light=random.uniform(-1.0, 1.0),
        leg_length=random.uniform(0.82, 1.0),
        favourite_yaw=random.uniform(0.0, 6.283),
        panorama=_paint_panorama(random, number=number, size=size),
        clutter=tuple(random.choice(_WALLS) for _ in range(3)),
    )


def photograph(
    figures: Image.Image,
    camera: Camera,
    *,
    random: Random,
    feet: tuple[float, float] | None,
) -> Image.Image:
    """Put figures before a piece of the camera's place and take the picture.

    Args:
        figures: RGBA of the picture's size.
        camera: Whose place and faults to use.
        random: Decides the piece, the light's wavering and the noise.
        feet: Where a shadow falls, as shares of width and height; None for an empty scene.

    Returns:
        RGB of the picture's size.
    """
    width, height = figures.size
    layers = np.asarray(figures, dtype=np.float32)  # (H, W, 4)
    alpha = layers[..., 3:] / np.float32(255)  # (H, W, 1)
    scene = _crop(camera.panorama, random, height=height, width=width)
    if feet is not None:
        scene = scene * _shadow(height=height, width=width, feet=feet)
    body = layers[..., :3] * _light_on_body(camera, random, height=height, width=width)
    seen = _develop(scene * (1 - alpha) + body * alpha, camera, random)
    image = Image.fromarray(_to_bytes(seen)).filter(
        ImageFilter.GaussianBlur(camera.blur * height / 128)
    )
    noise = np.frombuffer(random.randbytes(height * width * 3), dtype=np.uint8)
    error = (noise.reshape(height, width, 3).astype(np.float32) - 128) * (camera.noise / 128)
    return Image.fromarray(_to_bytes(np.asarray(image, dtype=np.float32) + error))


def _to_bytes(pixels: Pixels) -> NDArray[np.uint8]:
    return np.clip(pixels, 0, 255).astype(np.uint8)


def _crop(panorama: Pixels, random: Random, *, height: int, width: int) -> Pixels:
    top = random.randint(0, panorama.shape[0] - height)
    left = random.randint(0, panorama.shape[1] - width)
    return panorama[top : top + height, left : left + width]


def _shadow(*, height: int, width: int, feet: tuple[float, float]) -> Pixels:
    columns = (np.arange(width, dtype=np.float32)[None, :] / width - feet[0]) / 0.26
    rows = (np.arange(height, dtype=np.float32)[:, None] / height - feet[1]) / 0.025
    darkness = np.exp(-(rows * rows) - columns * columns)  # (H, W)
    return (1 - 0.45 * darkness)[..., None].astype(np.float32)


def _light_on_body(camera: Camera, random: Random, *, height: int, width: int) -> Pixels:
    """Brighten one side, and let folds and shade waver."""
    side = np.linspace(-1, 1, width, dtype=np.float32)[None, :] * np.float32(0.3 * camera.light)
    folds = np.frombuffer(random.randbytes(12 * 6), dtype=np.uint8).reshape(12, 6)
    wavering = np.asarray(
        Image.fromarray(folds).resize((width, height), Image.Resampling.BICUBIC), dtype=np.float32
    )
    return (0.9 + side + wavering * np.float32(0.2 / 255))[..., None]  # (H, W, 1)


def _develop(pixels: Pixels, camera: Camera, random: Random) -> Pixels:
    """Apply cast, saturation, contrast and brightness; the exposure wavers a little."""
    grey = (pixels @ _LUMA)[..., None]  # (H, W, 1)
    toned = grey + (pixels - grey) * np.float32(camera.saturation)
    toned = (toned - 118) * np.float32(camera.contrast) + 118
    exposure = camera.brightness * random.uniform(0.92, 1.08)
    return toned * (camera.gains * np.float32(exposure))


def _paint_panorama(random: Random, *, number: int, size: ImageSize) -> Pixels:
    height, width = round(size.height * _PANORAMA_HEIGHT), size.width * _PANORAMA_WIDTH
    ground = _GROUNDS[number % len(_GROUNDS)]
    wall = _WALLS[(number * 5 + random.randrange(2)) % len(_WALLS)]
    horizon = round(height * random.uniform(0.3, 0.55))
    image = Image.new("RGB", (width, height), ground)
    draw = ImageDraw.Draw(image)
    _paint_ground(draw, random, ground, box=(0, horizon, width, height))
    draw.rectangle((0, 0, width, horizon), fill=wall)
    for _ in range(14):
        _paint_thing(draw, random, wall, horizon=horizon, width=width)
    pixels = np.asarray(image.filter(ImageFilter.GaussianBlur(size.height / 128)), np.float32)
    return pixels + _grain(random, height=height, width=width)


def _paint_ground(
    draw: ImageDraw.ImageDraw, random: Random, colour: Colour, *, box: tuple[int, int, int, int]
) -> None:
    left, top, right, bottom = box
    for row in range(top, bottom):
        light = 0.85 + 0.25 * (row - top) / (bottom - top)
        draw.line((left, row, right, row), fill=_scaled(colour, light))
    joint = _scaled(colour, 0.8)
    step = random.randint(9, 20) * (bottom - top) // 80 + 3
    for row in range(top, bottom, step):
        draw.line((left, row, right, row), fill=joint)
    for column in range(left - (right - left), right, step * 2):
        draw.line((column + step * 4, top, column, bottom), fill=joint)


def _paint_thing(
    draw: ImageDraw.ImageDraw, random: Random, wall: Colour, *, horizon: int, width: int
) -> None:
    """Add a pillar, a window or a bush along the wall."""
    x, breadth = random.randrange(width), random.randint(width // 60 + 1, width // 14 + 1)
    colour = _scaled(random.choice((wall, wall, random.choice(_WALLS))), random.uniform(0.6, 1.25))
    kind = random.randrange(3)
    if kind == 0:
        draw.rectangle((x, 0, x + breadth // 2, horizon), fill=colour)
    elif kind == 1:
        draw.rectangle((x, horizon // 6, x + breadth, horizon * 2 // 3), fill=colour)
    else:
        bush = _scaled((72, 104, 58), random.uniform(0.6, 1.2))
        draw.ellipse((x, horizon - breadth, x + 2 * breadth, horizon + breadth // 3), fill=bush)


def _grain(random: Random, *, height: int, width: int) -> Pixels:
    """Add unevenness on three scales, from patches of light to single pebbles."""
    total = np.zeros((height, width), dtype=np.float32)
    for cell, strength in ((24, 26.0), (6, 14.0), (2, 10.0)):
        rows, columns = height // cell + 1, width // cell + 1
        values = np.frombuffer(random.randbytes(rows * columns), np.uint8).reshape(rows, columns)
        stretched = Image.fromarray(values).resize((width, height), Image.Resampling.BICUBIC)
        total += (np.asarray(stretched, dtype=np.float32) / 255 - 0.5) * np.float32(strength)
    return total[..., None]


def _scaled(colour: Colour, factor: float) -> Colour:
    red, green, blue = (min(int(part * factor), 255) for part in colour)
    return red, green, blue
