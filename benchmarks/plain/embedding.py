"""Pictures to tensors as the paper's code does it: one picture at a time, through PIL."""

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import Compose, Normalize, Resize, ToTensor

from reid.domain.values.encoders import EncoderGeometry


class PlainPictures:
    """Resize bilinearly, ToTensor, Normalize: the validation transform."""

    def __init__(self, geometry: EncoderGeometry) -> None:
        """Compose the transform."""
        size = geometry.image_size
        self._transform = Compose(
            [
                Resize((size.height, size.width)),
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
        return pixels
