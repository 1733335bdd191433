"""An export's place in memory."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from reid.domain.values.checkpoints import JsonValue
from reid.domain.values.encoders import EncoderDescription, EncoderGeometry
from reid.domain.values.features import ImageFeatures
from reid.ports.image_encoder import ImageEncoder, Keep


class SkewedEncoder:
    """Passes an encoder's features through a function, and may be blind to cameras."""

    def __init__(
        self, encoder: ImageEncoder, skew: Callable[[Tensor], Tensor], *, is_blind: bool = False
    ) -> None:
        self._encoder = encoder
        self._skew = skew
        self._is_blind = is_blind

    @property
    def geometry(self) -> EncoderGeometry:
        return self._encoder.geometry

    @property
    def description(self) -> EncoderDescription:
        return self._encoder.description

    @property
    def device(self) -> torch.device:
        return self._encoder.device

    def encode_images(self, images: Tensor, camids: Tensor | None = None) -> ImageFeatures:
        features = self._encoder.encode_images(images, None if self._is_blind else camids)
        return ImageFeatures(
            self._skew(features.penultimate),
            self._skew(features.final),
            self._skew(features.projected),
        )


class FakeExportPlace:
    """Hands the encoder back, skewed or blind to cameras if that is wanted."""

    def __init__(
        self,
        *,
        precision: str = "fp32",
        skew: Callable[[Tensor], Tensor] = torch.clone,
        is_blind: bool = False,
    ) -> None:
        self.precision = precision
        self.kept: Mapping[str, JsonValue] | None = None
        self._skew = skew
        self._is_blind = is_blind

    @contextmanager
    def write(self, encoder: ImageEncoder) -> Iterator[tuple[ImageEncoder, Keep]]:
        yield SkewedEncoder(encoder, self._skew, is_blind=self._is_blind), self._keep

    def _keep(self, record: Mapping[str, JsonValue]) -> None:
        self.kept = record
