"""Images whose pixels say where they come from let a test read off what was done to them."""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare, ks_2samp
from torch import Tensor

from reid.domain.seeding import generator_for
from reid.domain.training.augmentation import augment, normalise
from reid.domain.values.recipes import FineTuningRecipe

HEIGHT, WIDTH, PADDING = 64, 32, 4
ZERO, UNIT = (0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255)
"""Pixel statistics with which normalised pixels are the bytes again."""

PLAIN = FineTuningRecipe(flip_probability=0.0, random_crop_padding=0, erasing_probability=0.0)
MARK = 250


def coordinates(num_images: int) -> Tensor:
    """Images that hold 1 + row, 1 + column and a mark in their channels."""
    image = torch.empty(3, HEIGHT, WIDTH, dtype=torch.uint8)
    image[0] = torch.arange(1, HEIGHT + 1)[:, None]
    image[1] = torch.arange(1, WIDTH + 1)[None, :]
    image[2] = MARK
    return image.expand(num_images, -1, -1, -1).contiguous()


Box: TypeAlias = tuple[int, int, int, int]
"""Top, left, height, width."""


@dataclass(frozen=True)
class Reading:
    """What was done to one image."""

    is_flipped: bool
    offset: tuple[int, int]
    box: Box | None


def read(pixels: Tensor) -> Reading:
    """Read off one augmented image; every pixel that was not erased must be in its place."""
    values = pixels.double().numpy()
    whole = np.abs(values - values.round()).max(axis=0) < 1e-3
    is_image = whole & (values[2].round() == MARK)
    is_padding = whole & (np.abs(values).max(axis=0) < 1e-3)
    is_erased = ~(is_image | is_padding)
    y, x = np.nonzero(is_image)
    rows, columns = (values[channel].round().astype(int)[is_image] - 1 for channel in (0, 1))
    is_flipped = bool(np.polyfit(x, columns, 1)[0] < 0)
    (top,) = set((rows - y).tolist())
    (left,) = set((((WIDTH - 1 - columns) if is_flipped else columns) - x).tolist())
    offset = (top + PADDING, left + PADDING)
    _require_padding_at_the_border(is_padding | is_erased, offset)
    return Reading(is_flipped, offset, _box(is_erased))


def _require_padding_at_the_border(is_black_or_erased: np.ndarray, offset: tuple[int, int]) -> None:
    y, x = np.indices((HEIGHT, WIDTH))
    inside_y = (y + offset[0] >= PADDING) & (y + offset[0] < PADDING + HEIGHT)
    inside_x = (x + offset[1] >= PADDING) & (x + offset[1] < PADDING + WIDTH)
    assert is_black_or_erased[~(inside_y & inside_x)].all()


def _box(is_erased: np.ndarray) -> Box | None:
    if not is_erased.any():
        return None
    y, x = np.nonzero(is_erased)
    top, left = int(y.min()), int(x.min())
    height, width = int(y.max()) - top + 1, int(x.max()) - left + 1
    assert is_erased.sum() == height * width, "what is erased must be a box"
    return top, left, height, width


@pytest.fixture(scope="module")
def readings() -> list[Reading]:
    recipe = FineTuningRecipe(random_crop_padding=PADDING)
    pixels = augment(coordinates(3000), recipe, mean=ZERO, std=UNIT, generator=generator_for(7))
    return [read(image) for image in pixels]


def test_half_of_the_images_are_mirrored(readings: list[Reading]) -> None:
    share = sum(reading.is_flipped for reading in readings) / len(readings)
    assert share == pytest.approx(0.5, abs=0.03)


def test_every_crop_position_is_equally_likely(readings: list[Reading]) -> None:
    side = 2 * PADDING + 1
    counts = np.zeros((side, side))
    for reading in readings:
        counts[reading.offset] += 1
    assert chisquare(counts.ravel()).pvalue > 0.01


def boxes_by_loops(num_images: int) -> list[Box]:
    """Zhong et al. 2017, algorithm 1, one image at a time."""
    source, boxes = random.Random(3), []
    for _ in range(num_images):
        if source.random() > 0.5:
            continue
        for _ in range(10):
            area = source.uniform(0.02, 1 / 3) * HEIGHT * WIDTH
            aspect = math.exp(source.uniform(math.log(0.3), math.log(1 / 0.3)))
            height, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if height < HEIGHT and width < WIDTH:
                top = source.randint(0, HEIGHT - height)
                boxes.append((top, source.randint(0, WIDTH - width), height, width))
                break
    return boxes


def test_erased_boxes_are_distributed_as_in_the_paper(readings: list[Reading]) -> None:
    boxes = [reading.box for reading in readings if reading.box is not None]
    assert len(boxes) / len(readings) == pytest.approx(0.5, abs=0.03)
    expected = boxes_by_loops(20_000)
    measures: dict[str, Callable[[Box], float]] = {
        "top": lambda box: box[0],
        "left": lambda box: box[1],
        "height": lambda box: box[2],
        "width": lambda box: box[3],
        "area": lambda box: box[2] * box[3],
        "aspect": lambda box: box[2] / box[3],
        "room below": lambda box: HEIGHT - box[0] - box[2],
        "room at the right": lambda box: WIDTH - box[1] - box[3],
    }
    for name, measure in measures.items():
        outcome = ks_2samp([measure(box) for box in boxes], [measure(box) for box in expected])
        # Eight comparisons: each at a level of 0.001, so that all together stand at 0.01.
        assert outcome.pvalue > 0.001, name


def test_erased_boxes_keep_to_their_range(readings: list[Reading]) -> None:
    for reading in readings:
        if reading.box is not None:
            _, _, height, width = reading.box
            # Sides are rounded to whole pixels, so area and aspect are met to half a pixel.
            assert (height + 0.5) * (width + 0.5) >= 0.02 * HEIGHT * WIDTH
            assert (height - 0.5) * (width - 0.5) <= HEIGHT * WIDTH / 3
            assert (height + 0.5) / (width - 0.5) >= 0.3
            assert (height - 0.5) / (width + 0.5) <= 1 / 0.3


def test_flip_crop_and_erasing_are_independent(readings: list[Reading]) -> None:
    facts = np.array(
        [(r.is_flipped, r.offset[0], r.offset[1], r.box is not None) for r in readings], dtype=float
    )
    correlations = np.corrcoef(facts.T) - np.eye(4)
    assert np.abs(correlations).max() < 0.06


def test_erased_pixels_are_standard_normal_in_each_channel() -> None:
    recipe = replace(PLAIN, erasing_probability=1.0)
    images = torch.full((200, 3, HEIGHT, WIDTH), 255, dtype=torch.uint8)
    pixels = augment(
        images, recipe, mean=ZERO, std=(1e-4, 1e-4, 1e-4), generator=generator_for(2)
    )  # what is left of the image is 10,000
    is_erased = pixels < 5000
    assert torch.equal(is_erased.any(dim=1), is_erased.all(dim=1))
    for channel in range(3):
        noise = pixels[:, channel][is_erased[:, channel]]
        assert noise.mean().item() == pytest.approx(0.0, abs=0.02)
        assert noise.std().item() == pytest.approx(1.0, abs=0.02)
    together = pixels.movedim(1, 0)[:, is_erased.all(dim=1)]  # (3, erased pixels)
    assert (torch.corrcoef(together) - torch.eye(3)).abs().max() < 0.02


def draw_images(seed: int, num_images: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (num_images, 3, 12, 6), generator=generator, dtype=torch.uint8)


MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@settings(deadline=None)
@given(seed=st.integers(0, 1000))
def test_pixels_are_shifted_and_scaled_by_channel(seed: int) -> None:
    images = draw_images(seed)
    pixels = normalise(images, mean=MEAN, std=STD)
    assert pixels.dtype == torch.float32
    for channel in range(3):
        expected = (images[:, channel].double() / 255 - MEAN[channel]) / STD[channel]
        torch.testing.assert_close(pixels[:, channel].double(), expected, rtol=1e-5, atol=1e-6)


def test_without_any_chance_augmenting_is_normalising() -> None:
    images = draw_images(1)
    pixels = augment(images, PLAIN, mean=MEAN, std=STD, generator=generator_for(0))
    assert torch.equal(pixels, normalise(images, mean=MEAN, std=STD))


def test_certain_flips_mirror_every_image() -> None:
    images = draw_images(1)
    recipe = replace(PLAIN, flip_probability=1.0)
    pixels = augment(images, recipe, mean=MEAN, std=STD, generator=generator_for(0))
    assert torch.equal(pixels, normalise(images, mean=MEAN, std=STD).flip(3))


def test_padding_is_black_before_normalisation() -> None:
    images = torch.full((64, 3, 12, 6), 255, dtype=torch.uint8)
    recipe = replace(PLAIN, random_crop_padding=2)
    pixels = augment(images, recipe, mean=MEAN, std=STD, generator=generator_for(0))
    for channel in range(3):
        black, white = (((value - MEAN[channel]) / STD[channel]) for value in (0.0, 1.0))
        values = sorted(set(pixels[:, channel].flatten().tolist()))
        assert values == pytest.approx([black, white], rel=1e-5)


@settings(deadline=None)
@given(seed=st.integers(0, 1000))
def test_the_generator_alone_decides_and_the_input_stays(seed: int) -> None:
    images = draw_images(seed)
    before = images.clone()
    one, same = (
        augment(
            images,
            FineTuningRecipe(random_crop_padding=2),
            mean=MEAN,
            std=STD,
            generator=generator_for(seed),
        )
        for _ in range(2)
    )
    assert torch.equal(one, same)
    assert torch.equal(images, before)


def test_images_of_a_batch_have_chances_of_their_own() -> None:
    images = draw_images(1, num_images=1).expand(8, -1, -1, -1)
    pixels = augment(
        images,
        FineTuningRecipe(random_crop_padding=2),
        mean=MEAN,
        std=STD,
        generator=generator_for(1),
    )
    assert len({tuple(image.flatten().tolist()) for image in pixels}) == 8


def test_an_image_too_small_for_any_box_is_left_whole() -> None:
    images = torch.zeros(16, 3, 1, 1, dtype=torch.uint8)
    recipe = replace(PLAIN, erasing_probability=1.0)
    pixels = augment(images, recipe, mean=ZERO, std=UNIT, generator=generator_for(0))
    # A box of 0 x 0 pixels fits but erases nothing; one of 1 x 1 does not fit.
    assert torch.equal(pixels, torch.zeros(16, 3, 1, 1))


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(2, 3, 4, 4),
        torch.zeros(3, 4, 4, dtype=torch.uint8),
        torch.zeros(2, 1, 4, 4).byte(),
    ],
    ids=["float", "single image", "grey"],
)
def test_what_is_no_batch_of_images_is_refused(images: Tensor) -> None:
    with pytest.raises(ValueError, match=r"must be \(B, 3, H, W\) uint8"):
        normalise(images, mean=MEAN, std=STD)
    with pytest.raises(ValueError, match=r"must be \(B, 3, H, W\) uint8"):
        augment(images, PLAIN, mean=MEAN, std=STD, generator=generator_for(0))


def jittered(image: Tensor, recipe: FineTuningRecipe, *, seed: int) -> Tensor:
    """Augment 400 copies of an image: (400, 3, H, W) bytes as numbers."""
    copies = image.expand(400, -1, -1, -1)
    return augment(copies, recipe, mean=ZERO, std=UNIT, generator=generator_for(seed))


def test_recolouring_happens_as_often_as_asked() -> None:
    image = torch.full((3, 8, 4), 100, dtype=torch.uint8)
    recipe = replace(PLAIN, color_jitter_probability=0.25, color_jitter_strength=0.5)
    changed = (jittered(image, recipe, seed=1) - 100).abs().amax(dim=(1, 2, 3)) > 0.5
    assert 0.18 < changed.double().mean() < 0.32


def test_brightness_scales_a_grey_image_evenly_within_its_bounds() -> None:
    image = torch.full((3, 8, 4), 100, dtype=torch.uint8)
    recipe = replace(PLAIN, color_jitter_probability=1.0, color_jitter_strength=0.2)
    pixels = jittered(image, recipe, seed=2)
    values = pixels[:, 0, 0, 0]
    assert torch.allclose(pixels, values.view(-1, 1, 1, 1).expand_as(pixels), atol=1e-3)
    assert 79.5 <= values.min() < 85
    assert 115 < values.max() <= 120.5


def test_contrast_and_saturation_change_differences_between_pixels_and_channels() -> None:
    image = torch.tensor([[90, 150], [110, 130], [120, 120]], dtype=torch.uint8)  # (3, 2)
    image = image[:, None, :].expand(3, 4, 2)
    recipe = replace(PLAIN, color_jitter_probability=1.0, color_jitter_strength=0.4)
    pixels = jittered(image, recipe, seed=3)
    across_pixels = (pixels[:, 0, 0, 1] - pixels[:, 0, 0, 0]) / 60
    across_channels = (pixels[:, 0, 0, 1] - pixels[:, 2, 0, 1]) / 30
    for ratio in (across_pixels, across_channels):
        assert ratio.min() < 0.8
        assert ratio.max() > 1.2
        assert ratio.min() > 0.6**3 - 0.05
        assert ratio.max() < 1.4**3 + 0.05


def test_recolouring_stays_within_bytes() -> None:
    image = torch.tensor([[0, 255]], dtype=torch.uint8).expand(3, 4, 2)
    recipe = replace(PLAIN, color_jitter_probability=1.0, color_jitter_strength=1.0)
    pixels = jittered(image, recipe, seed=4)
    assert pixels.min() >= -1e-3
    assert pixels.max() <= 255 + 1e-3


def test_recipes_without_recolouring_draw_what_they_drew_before_it_was_known() -> None:
    images = coordinates(16)
    recipe = FineTuningRecipe(random_crop_padding=PADDING)
    plain = augment(images, recipe, mean=ZERO, std=UNIT, generator=generator_for(5))
    unused = replace(recipe, color_jitter_strength=0.9)
    again = augment(images, unused, mean=ZERO, std=UNIT, generator=generator_for(5))
    assert torch.equal(plain, again)


def numbered(num_images: int) -> Tensor:
    """Images that hold their number in the batch, 1 + row and 1 + column in their channels."""
    images = coordinates(num_images)
    images[:, 2] = images[:, 1]
    images[:, 1] = images[:, 0]
    images[:, 0] = torch.arange(num_images)[:, None, None]
    return images


@dataclass(frozen=True)
class Patch:
    """What covers a part of an image."""

    box: Box
    giver: int
    top: int
    left: int


def patch_on(pixels: Tensor, *, own: int) -> Patch | None:
    """Read off one patched image; all else must be as it was."""
    values = pixels.double().round().int().numpy()
    y, x = np.indices((HEIGHT, WIDTH))
    is_patched = values[0] != own
    assert (values[1] == y + 1)[~is_patched].all()
    assert (values[2] == x + 1)[~is_patched].all()
    box = _box(is_patched)
    if box is None:
        return None
    (giver,) = set(values[0][is_patched].tolist())
    (down,) = set((values[1] - 1 - y)[is_patched].tolist())
    (right,) = set((values[2] - 1 - x)[is_patched].tolist())
    return Patch(box, giver, box[0] + down, box[1] + right)


@pytest.fixture(scope="module")
def patches() -> list[tuple[int, Patch | None]]:
    """Of 25 batches of 100 images each: the image's number and its patch."""
    recipe = replace(PLAIN, random_patch_probability=0.4)
    return [
        (own, patch_on(image, own=own))
        for batch in range(25)
        for own, image in enumerate(
            augment(numbered(100), recipe, mean=ZERO, std=UNIT, generator=generator_for(1, batch))
        )
    ]


def test_patches_come_as_often_as_asked(patches: list[tuple[int, Patch | None]]) -> None:
    share = sum(patch is not None for _, patch in patches) / len(patches)
    assert share == pytest.approx(0.4, abs=0.03)


def test_a_patch_is_a_box_of_any_other_image(patches: list[tuple[int, Patch | None]]) -> None:
    steps = np.array([(patch.giver - own) % 100 for own, patch in patches if patch is not None])
    counts = np.bincount(steps, minlength=100)
    assert counts[0] == 0
    assert chisquare(counts[1:]).pvalue > 0.01


def test_patches_are_boxes_as_random_erasing_draws_them_from_any_place(
    patches: list[tuple[int, Patch | None]],
) -> None:
    given_ = [patch for _, patch in patches if patch is not None]
    expected = boxes_by_loops(20_000)
    for side in range(4):
        outcome = ks_2samp([patch.box[side] for patch in given_], [box[side] for box in expected])
        assert outcome.pvalue > 0.001
    for place, side in (
        ([patch.top for patch in given_], 0),
        ([patch.left for patch in given_], 1),
    ):
        assert ks_2samp(place, [box[side] for box in expected]).pvalue > 0.001
    moves = [(patch.top, patch.box[0]) for patch in given_ if patch.box[2] < HEIGHT // 4]
    assert abs(np.corrcoef(np.array(moves).T)[0, 1]) < 0.15


def test_an_image_alone_has_nobody_to_give_a_patch() -> None:
    images = draw_images(1, num_images=1)
    recipe = replace(PLAIN, random_patch_probability=1.0)
    pixels = augment(images, recipe, mean=MEAN, std=STD, generator=generator_for(0))
    assert torch.equal(pixels, normalise(images, mean=MEAN, std=STD))


@settings(deadline=None)
@given(seed=st.integers(0, 1000))
def test_patching_leaves_its_input_and_repeats_itself(seed: int) -> None:
    images = draw_images(seed)
    before = images.clone()
    recipe = replace(PLAIN, random_patch_probability=0.7)
    one, same = (
        augment(images, recipe, mean=MEAN, std=STD, generator=generator_for(seed)) for _ in range(2)
    )
    assert torch.equal(one, same)
    assert torch.equal(images, before)
