"""Checks of an image encoder's inputs.

Letters: B batch, H W pixels.
"""

from torch import Tensor

from reid.domain.errors import EncoderError
from reid.domain.values.counts import counted
from reid.domain.values.encoders import EncoderDescription, EncoderGeometry


def check_images(images: Tensor, *, geometry: EncoderGeometry) -> None:
    """Check the images' shape.

    Raises:
        ValueError: Not (B, 3, H, W) of the encoder's size.
    """
    size = geometry.image_size
    if images.shape[1:] != (3, size.height, size.width):
        raise ValueError(f"images must be (B, 3, {size}), got {tuple(images.shape)}")


def check_cameras(
    images: Tensor,
    camids: Tensor | None,
    *,
    geometry: EncoderGeometry,
    description: EncoderDescription,
) -> None:
    """Check cameras, where they are given and the encoder knows any.

    Raises:
        EncoderError: A camera beyond those the encoder knows.
        ValueError: Not one per image.
    """
    if camids is None or geometry.num_cameras == 0:
        return
    if len(camids) != len(images):
        raise ValueError(f"{len(images)} images, {len(camids)} camids")
    unknown = camids[(camids < 0) | (camids >= geometry.num_cameras)]
    if len(unknown):
        raise EncoderError(
            f"camera {int(unknown[0])} (zero-based) is unknown: the weights "
            f"{description.weights} know {counted(geometry.num_cameras, 'camera')}; leave cameras "
            "out, or train with more"
        )
