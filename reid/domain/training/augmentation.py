"""Random variation of training images, and pixel normalisation, on whole batches.

Letters: B batch, H W pixels, T attempts.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from reid.domain.memory import to_device
from reid.domain.values.recipes import FineTuningRecipe

_BOX_SHARE = (0.02, 1 / 3)
_BOX_ASPECT = (0.3, 1 / 0.3)
"""Least and largest share of the image that a box covers, and height over width of the box (Zhong
et al. 2017, section 4.2)."""

_NUM_ATTEMPTS = 10  # boxes drawn at most until one fits into the image
_LUMA = (0.299, 0.587, 0.114)

_NUM_IN_CACHE = 2  # images of 256 x 128 pixels in float32 that make up 0.8 MiB


class _Box(NamedTuple):
    """A rectangle of one image of a batch, in pixels."""

    row: int
    top: int
    left: int
    height: int
    width: int

    def of(self, images: Tensor) -> Tensor:
        """View the rectangle: (3, height, width)."""
        rows = slice(self.top, self.top + self.height)
        return images[self.row, :, rows, self.left : self.left + self.width]


def normalise(
    images_uint8: Tensor, *, mean: tuple[float, float, float], std: tuple[float, float, float]
) -> Tensor:
    """Bring pixels to the range an encoder expects.

    Args:
        images_uint8: (B, 3, H, W) uint8, RGB.
        mean: Subtracted per channel from pixels in 0..1.
        std: Divides per channel what remains.

    Returns:
        (B, 3, H, W) float32 on the images' device, in their memory format.

    Raises:
        ValueError: Not a batch of RGB images in uint8.
    """
    _require_images(images_uint8)
    pixels = torch.empty_like(images_uint8, dtype=torch.float32)
    # Constants as large as an image lie in memory as it does, so that torch runs through both at
    # full speed, channels last or not.
    shift, scale = (
        torch.empty_like(images_uint8[:1], dtype=torch.float32).copy_(
            to_device(pixels.device, torch.tensor(statistic)).view(3, 1, 1)
        )
        for statistic in (mean, std)
    )
    # ((p / 255) - mean) / std passes over the pixels four times. A few images at a time stay in a
    # processor's cache between the passes; an accelerator is served best by all at once.
    count = _NUM_IN_CACHE if pixels.device.type == "cpu" else max(len(pixels), 1)
    for source, target in zip(
        torch.split(images_uint8, count), torch.split(pixels, count), strict=True
    ):
        target.copy_(source).div_(255).sub_(shift).div_(scale)
    return pixels


def augment(
    images_uint8: Tensor,
    recipe: FineTuningRecipe,
    *,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    generator: torch.Generator,
) -> Tensor:
    """Flip, crop, patch, colour-jitter, normalise and erase images, each at random.

    Luo et al. 2019, arXiv:1903.07071, section 2 (flip, padding, crop), and random erasing: Zhong et
    al. 2017, arXiv:1708.04896, algorithm 1, with N(0, 1) noise for each pixel and channel. Changes
    of brightness, contrast and saturation (Howard 2013, arXiv:1312.5402, section 2.2) and patches
    of other images (Zhou et al. 2021, arXiv:1910.06827) are not the paper's; recipes for random
    weights use them.

    Images are (B, 3, H, W) uint8, RGB, already of the encoder's size; mean and std as `normalise`
    takes them. Draws depend neither on pixels nor on the images' device.

    Returns:
        (B, 3, H, W) float32 on the images' device.

    Raises:
        ValueError: Not a batch of RGB images in uint8.
    """
    _require_images(images_uint8)
    flipped = _flip(images_uint8, recipe.flip_probability, generator=generator)
    shifted = _shift(flipped, recipe.random_crop_padding, generator=generator)
    if recipe.random_patch_probability > 0:
        shifted = _patch(shifted, recipe.random_patch_probability, generator=generator)
    if recipe.color_jitter_probability > 0:
        shifted = _jitter_color(shifted, recipe, generator=generator)
    pixels = normalise(shifted, mean=mean, std=std)
    boxes = _boxes(pixels.shape, recipe.erasing_probability, generator=generator)
    _erase(pixels, boxes, generator=generator)
    return pixels


def _flip(images: Tensor, probability: float, *, generator: torch.Generator) -> Tensor:
    is_flipped = _uniform((len(images),), generator=generator) < probability  # (B,)
    flipped = images.clone()
    for row in is_flipped.nonzero().flatten().tolist():
        flipped[row] = images[row].flip(2)
    return flipped


def _shift(images: Tensor, padding: int, *, generator: torch.Generator) -> Tensor:
    """Pad with black pixels and crop to the old size at a random place."""
    _, _, height, width = images.shape
    offsets = torch.randint(
        2 * padding + 1, (len(images), 2), generator=generator, device=generator.device
    )
    padded = F.pad(images, (padding, padding, padding, padding))  # (B, 3, H + 2p, W + 2p)
    shifted = torch.empty_like(images)
    for row, (top, left) in enumerate(offsets.tolist()):
        shifted[row] = padded[row, :, top : top + height, left : left + width]
    return shifted


def _patch(images: Tensor, probability: float, *, generator: torch.Generator) -> Tensor:
    """Cover a box of some images by a box of its size, of another image and place."""
    # Differs from Zhou et al., who draw patches from a pool gathered over many batches: such a pool
    # would have to be saved for interrupted trainings to resume.
    count, _, height, width = images.shape
    boxes = _boxes(images.shape, probability, generator=generator)
    drawn = _uniform((count, 3), generator=generator).tolist()
    if count < 2:
        return images
    patched = images.clone()
    for box in boxes:
        other, below, right = drawn[box.row]
        source = (box.row + 1 + int(other * (count - 1))) % count
        top, left = int(below * (height - box.height + 1)), int(right * (width - box.width + 1))
        box.of(patched).copy_(box._replace(row=source, top=top, left=left).of(images))
    return patched


def _jitter_color(
    images: Tensor, recipe: FineTuningRecipe, *, generator: torch.Generator
) -> Tensor:
    """Mix some images with black, then with their mean grey, then with their own grey image."""
    is_chosen = _uniform((len(images),), generator=generator) < recipe.color_jitter_probability
    low, high = 1 - recipe.color_jitter_strength, 1 + recipe.color_jitter_strength
    drawn = _between(_uniform((3, len(images), 1, 1, 1), generator=generator), low, high)
    rows = to_device(images.device, is_chosen.nonzero().flatten())  # (R,)
    factors = to_device(images.device, drawn[:, is_chosen].float())
    brightness, contrast, saturation = factors  # (R, 1, 1, 1) each
    pixels = images[rows].float() * brightness  # (R, 3, H, W)
    mean = _grey(pixels).mean(dim=(2, 3), keepdim=True)  # (R, 1, 1, 1)
    pixels = torch.lerp(mean.expand_as(pixels), pixels, contrast)
    pixels = torch.lerp(_grey(pixels).expand_as(pixels), pixels, saturation)
    jittered = images.clone()
    jittered[rows] = pixels.round_().clamp_(0, 255).to(torch.uint8)
    return jittered


def _grey(pixels: Tensor) -> Tensor:
    """Weigh the channels as ITU-R BT.601 does: (B, 1, H, W)."""
    red, green, blue = (pixels[:, channel, None] for channel in range(3))
    return _LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue


def _boxes(shape: torch.Size, probability: float, *, generator: torch.Generator) -> list[_Box]:
    """Draw a box in some of the images: the first of T attempts that fits, if any."""
    num_images, _, image_height, image_width = shape
    is_chosen = _uniform((num_images,), generator=generator) < probability  # (B,)
    drawn = _uniform((4, num_images, _NUM_ATTEMPTS), generator=generator)  # (4, B, T)
    area = _between(drawn[0], *_BOX_SHARE) * image_height * image_width
    aspect = _between(drawn[1], *map(math.log, _BOX_ASPECT)).exp()
    heights = (area * aspect).sqrt().round()  # (B, T)
    widths = (area / aspect).sqrt().round()  # (B, T)
    tops = (drawn[2] * (image_height - heights + 1)).floor()
    lefts = (drawn[3] * (image_width - widths + 1)).floor()
    fits = (heights < image_height) & (widths < image_width) & is_chosen[:, None]
    first = fits.int().argmax(dim=1, keepdim=True)  # (B, 1)
    sides = torch.stack([tops, lefts, heights, widths]).long()  # (4, B, T)
    chosen = sides.gather(2, first.expand(4, -1, -1)).squeeze(2).T  # (B, 4)
    rows = fits.any(dim=1).nonzero().flatten()
    return [_Box(row, *box) for row, box in zip(rows.tolist(), chosen[rows].tolist(), strict=True)]


def _erase(pixels: Tensor, boxes: Sequence[_Box], *, generator: torch.Generator) -> None:
    """Fill boxes with noise, which is drawn for all of them first and copied as one tensor."""
    if not boxes:
        return
    sizes = [3 * box.height * box.width for box in boxes]
    drawn = [torch.randn(size, generator=generator, device=generator.device) for size in sizes]
    noises = to_device(pixels.device, torch.cat(drawn))
    for box, noise in zip(boxes, torch.split(noises, sizes), strict=True):
        box.of(pixels).copy_(noise.view(3, box.height, box.width))


def _uniform(shape: tuple[int, ...], *, generator: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=generator, device=generator.device, dtype=torch.float64)


def _between(uniform: Tensor, low: float, high: float) -> Tensor:
    return low + (high - low) * uniform


def _require_images(images: Tensor) -> None:
    if images.ndim != 4 or images.shape[1] != 3 or images.dtype != torch.uint8:
        raise ValueError(
            f"images must be (B, 3, H, W) uint8, got {tuple(images.shape)} {images.dtype}"
        )
