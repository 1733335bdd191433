"""Training images as the paper's code makes them: each decoded and varied by itself, every time.

Resize (bicubic), flip, pad and crop on PIL images, ToTensor, Normalize, then random erasing with
noise of its own for every pixel.
"""

import math
from random import Random

import torch
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

from benchmarks.plain.embedding import PlainImages
from reid.domain.values.encoders import EncoderGeometry
from reid.domain.values.recipes import FineTuningRecipe


class RandomErasing:
    """Put noise into a box of some images, in place."""

    def __init__(self, probability: float) -> None:
        """Start the chances anew."""
        self._random = Random(1)
        self._probability = probability

    def __call__(self, pixels: Tensor) -> Tensor:
        """Erase perhaps."""
        if self._random.random() < self._probability:
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


def plain_training_input(geometry: EncoderGeometry, recipe: FineTuningRecipe) -> PlainImages:
    """Compose the training transform."""
    size = (geometry.image_size.height, geometry.image_size.width)
    return PlainImages(
        Compose(
            [
                Resize(size, interpolation=InterpolationMode.BICUBIC),
                RandomHorizontalFlip(recipe.flip_probability),
                Pad(recipe.random_crop_padding),
                RandomCrop(size),
                ToTensor(),
                Normalize(geometry.pixel_mean, geometry.pixel_std),
                RandomErasing(recipe.erasing_probability),
            ]
        )
    )
