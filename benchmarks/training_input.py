"""Training batches: decoded once, kept as uint8 and varied together, or each image by itself."""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.embedding import exhaust, one_core
from benchmarks.harness import Row, Scale, compare
from benchmarks.plain.training_input import plain_training_input
from reid.adapters.datasets.market1501 import Market1501
from reid.adapters.events.broadcast import Broadcast
from reid.adapters.images.contents import CachedReader
from reid.adapters.synthetic.generator import DrawnDataset
from reid.domain.seeding import generator_for
from reid.domain.training.augmentation import augment
from reid.domain.values.encoders import EncoderGeometry
from reid.domain.values.recipes import FineTuningRecipe
from reid.domain.values.samples import ImageSize, Resampling, Split
from reid.ports.dataset import ImageReader

GOAL = 4.0
GEOMETRY = EncoderGeometry(
    image_size=ImageSize(256, 128),
    pixel_mean=(0.485, 0.456, 0.406),
    pixel_std=(0.229, 0.224, 0.225),
    penultimate_width=1,
    final_width=1,
    projected_width=1,
    num_cameras=0,
)
"""What ViT-B/16 and RN50 are trained at; only sizes and statistics of pixels matter here."""


@dataclass(frozen=True)
class Size:
    """How much work."""

    identities: int
    batch: int
    runs: int


FULL = Size(identities=64, batch=64, runs=5)
QUICK = Size(identities=2, batch=4, runs=1)


def rows(scale: Scale) -> Iterator[Row]:
    """Time an epoch from memory, and one without."""
    size = scale.choose(QUICK, FULL, FULL)
    recipe = FineTuningRecipe()
    with tempfile.TemporaryDirectory() as scratch, one_core():
        root = Path(scratch) / "people"
        DrawnDataset(
            identities=size.identities, test_identities=2, images_per_camera=2, cameras=3
        ).draw(root)
        source = Market1501(root)
        cached = CachedReader(source.reader, num_bytes=2**31, listener=Broadcast())
        names = [sample.name for sample in source.samples(Split.TRAIN)]
        batches = [names[row : row + size.batch] for row in range(0, len(names), size.batch)]
        plain = plain_training_input(GEOMETRY, recipe)

        def epoch(reader: ImageReader) -> Iterator[Tensor]:
            return (_batch(reader, batch, recipe, step) for step, batch in enumerate(batches))

        def plain_epoch() -> Iterator[Tensor]:
            return (plain.read([root / image for image in batch]) for batch in batches)

        is_equal = all(  # the first epoch fills the memory, the second is read from it
            torch.equal(*pair)
            for _ in range(2)
            for pair in zip(epoch(cached), epoch(source.reader), strict=True)
        )
        for ours, reader, goal in (
            ("from uint8 in memory", cached, GOAL),
            ("decoded anew (first epoch, or no memory)", source.reader, None),
        ):
            timing = compare(
                partial(_read_epoch, partial(epoch, reader)),
                partial(_read_epoch, plain_epoch),
                runs=size.runs,
            )
            yield Row(
                part=f"training input, {len(names)} images, batch {size.batch}, one core",
                ours=f"{ours}, varied in batches",
                plain="PIL, torchvision and erasing per image",
                goal="none" if goal is None else f">= {goal:g}x",
                is_met=is_equal and timing.ratio >= (goal or 0.0),
                exactness=(
                    "memory and no memory: bit-equal; distributions: see tests"
                    if is_equal
                    else "DIFFERS"
                ),
                details={"images_per_second": len(names) / timing.ours_seconds},
                **asdict(timing),
            )


def _read_epoch(epoch: Callable[[], Iterator[Tensor]]) -> None:
    exhaust(epoch())


def _batch(reader: ImageReader, names: list[str], recipe: FineTuningRecipe, step: int) -> Tensor:
    pixels = reader.read(names, size=GEOMETRY.image_size, resampling=Resampling.BICUBIC)
    return augment(
        pixels,
        recipe,
        mean=GEOMETRY.pixel_mean,
        std=GEOMETRY.pixel_std,
        generator=generator_for(1, "benchmark", step),
    )
