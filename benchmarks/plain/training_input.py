"""Training pictures as the paper's code makes them: each decoded and varied by itself, every time.

Resize (bicubic), flip, pad and crop on PIL pictures, ToTensor, Normalize, then random erasing with
noise of its own for every pixel.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from random import Random

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import (
    Compose,
    InterpolationMode,
    Normalize,
    Pad,
    RandomCrop,
    RandomHorizontalFlip,
    Resize,
    ToTensor,
)

from reid.domain.values.encoders import EncoderGeometry
from reid.domain.values.recipes import FineTuningRecipe


class PlainTrainingInput:
    """The training transform."""

    def __init__(self, geometry: EncoderGeometry, recipe: FineTuningRecipe) -> None:
        """Compose the transform."""
        size = (geometry.image_size.height, geometry.image_size.width)
        self._random = Random(1)
        self._erasing_probability = recipe.erasing_probability
        self._transform = Compose(
            [
                Resize(size, interpolation=InterpolationMode.BICUBIC),
                RandomHorizontalFlip(recipe.flip_probability),
                Pad(recipe.padding),
                RandomCrop(size),
                ToTensor(),
                Normalize(geometry.pixel_mean, geometry.pixel_std),
            ]
        )

    def read(self, paths: Sequence[Path]) -> Tensor:
        """Read a batch: (B, 3, H, W) float32."""
        return torch.stack([self._read(path) for path in paths])

    def _read(self, path: Path) -> Tensor:
        with Image.open(path) as image:
            pixels: Tensor = self._transform(image.convert("RGB"))
        if self._random.random() < self._erasing_probability:
            self._erase(pixels)
        return pixels

    def _erase(self, pixels: Tensor) -> None:
        _, image_height, image_width = pixels.shape
        for _ in range(10):
            area = self._random.uniform(0.02, 1 / 3) * image_height * image_width
            aspect = math.exp(self._random.uniform(math.log(0.3), math.log(1 / 0.3)))
            height, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if height < image_height and width < image_width:
                top = self._random.randint(0, image_height - height)
                left = self._random.randint(0, image_width - width)
                box = pixels[:, top : top + height, left : left + width]
                box.copy_(torch.randn(3, height, width))
                return
