"""Checks of an image encoder's inputs, the same for all families."""

from torch import Tensor

from reid.domain.errors import EncoderError
from reid.domain.values.counts import counted
from reid.domain.values.encoders import EncoderGeometry


def check_inputs(
    images: Tensor, camids: Tensor | None, *, geometry: EncoderGeometry, weights: str
) -> None:
    """Check images, and cameras where they are given and the encoder knows any.

    Args:
        images: Should be (B, 3, H, W) of the geometry's size.
        camids: Should be (B,), zero-based.
        geometry: Of the encoder.
        weights: Their name, for messages.

    Raises:
        EncoderError: A camera beyond those the encoder knows.
        ValueError: Other images, or not one camera per image.
    """
    size = geometry.image_size
    if images.shape[1:] != (3, size.height, size.width):
        raise ValueError(f"images must be (B, 3, {size}), got {tuple(images.shape)}")
    if camids is None or geometry.num_cameras == 0:
        return
    if len(camids) != len(images):
        raise ValueError(f"{len(images)} images, {len(camids)} camids")
    unknown = camids[(camids < 0) | (camids >= geometry.num_cameras)]
    if len(unknown):
        raise EncoderError(
            f"camera {int(unknown[0])} (zero-based) is unknown: the weights {weights} know "
            f"{counted(geometry.num_cameras, 'camera')}; leave cameras out, or train with more"
        )
