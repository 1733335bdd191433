"""Text towers of encoders under test."""

from torch import Tensor

from reid.ports.image_encoder import TrainableEncoder
from reid.ports.text_encoder import TextEncoder


def text_of(encoder: TrainableEncoder) -> TextEncoder:
    assert encoder.text is not None
    return encoder.text


def text_state(encoder: TrainableEncoder) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in text_of(encoder).named_parameters()}
