"""Images to tensors as the paper's code does it: one image at a time, through PIL."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import Compose, Normalize, Resize, ToTensor

from reid.domain.values.encoders import EncoderGeometry


class PlainImages:
    """Images through a transform, one at a time."""

    def __init__(self, transform: Callable[[Image.Image], Tensor]) -> None:
        """Take what is done to each image."""
        self._transform = transform

    @classmethod
    def validation(cls, geometry: EncoderGeometry) -> "PlainImages":
        """Resize bilinearly, ToTensor, Normalize."""
        size = geometry.image_size
        return cls(
            Compose(
                [
                    Resize((size.height, size.width)),
                    ToTensor(),
                    Normalize(geometry.pixel_mean, geometry.pixel_std),
                ]
            )
        )

    def read(self, paths: Sequence[Path]) -> Tensor:
        """Read a batch: (B, 3, H, W) float32."""
        return torch.stack([self._read(path) for path in paths])

    def _read(self, path: Path) -> Tensor:
        with Image.open(path) as image:
            return self._transform(image.convert("RGB"))
