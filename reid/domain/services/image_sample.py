"""A seeded sample of images: some to quantise an encoder on, others to compare it on.

Letters: B images, H W pixels.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from reid.domain.errors import DatasetError
from reid.domain.seeding import generator_for
from reid.domain.services.embedding import normalised_for
from reid.domain.values.json_values import JsonValue
from reid.ports.dataset import ImageReader
from reid.ports.image_encoder import ImageEncoder

MOST_COMPARED = 64  # images; no more than a fifth of the list
FEWEST_IMAGES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSample:
    """Images of a list; those to quantise on and those to compare on have none in common."""

    reader: ImageReader
    names: Sequence[str]
    origin: str  # of the list, for records
    count: int  # most images to quantise on
    seed: int

    def __post_init__(self) -> None:
        """Refuse lists too short to tell anything by a `DatasetError`."""
        if len(self.names) < FEWEST_IMAGES:
            raise DatasetError(
                f"{self.origin} lists {len(self.names)} images, too few to quantise an encoder on: "
                f"give at least {FEWEST_IMAGES}, better some hundred of different people"
            )

    @property
    def compared(self) -> list[str]:
        """Names of the images to compare on."""
        return self._shuffled()[: self._num_compared]

    @property
    def quantised_on(self) -> list[str]:
        """Names of the images to quantise on."""
        return self._shuffled()[self._num_compared :][: self.count]

    def read(self, names: Sequence[str], encoder: ImageEncoder) -> Tensor:
        """Read images as the encoder takes them: (B, 3, H, W) float32, normalised.

        Raises:
            DatasetError: An image cannot be read.
        """
        geometry = encoder.geometry
        pixels = self.reader.read(names, size=geometry.image_size, resampling=geometry.resampling)
        return normalised_for(encoder, pixels)

    def record(self) -> dict[str, JsonValue]:
        """Return what decides the sample."""
        names = "\n".join(self.quantised_on)
        return {
            "images": len(self.quantised_on),
            "of": len(self.names),
            "origin": self.origin,
            "seed": self.seed,
            "names_sha256": hashlib.sha256(names.encode(errors="surrogateescape")).hexdigest(),
        }

    @property
    def _num_compared(self) -> int:
        return min(MOST_COMPARED, len(self.names) // 5)

    def _shuffled(self) -> list[str]:
        generator = generator_for(self.seed, "quantisation")
        order = torch.randperm(len(self.names), generator=generator)
        return [self.names[row] for row in order.tolist()]
