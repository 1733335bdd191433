"""Images on disk to vectors: the way to the encoder, and how little it adds to the encoder.

Images are drawn, 128 x 64 JPEGs as Market-1501's are.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.harness import Row, Scale, Timing, compare
from benchmarks.plain.embedding import PlainImages
from reid.adapters.datasets.market1501 import Market1501
from reid.adapters.encoders.clip import create_clip_encoder
from reid.adapters.events.broadcast import Broadcast
from reid.adapters.images import contents, decoding
from reid.adapters.synthetic.generator import DrawnDataset
from reid.domain.services.embedding import Embedder
from reid.domain.training.augmentation import normalise
from reid.domain.values.encoders import EncoderRequest
from reid.domain.values.samples import Resampling, Split
from reid.ports.image_encoder import ImageEncoder

PIPELINE_GOAL = 4.0
ENCODER_SHARE_GOAL = 0.95
"""Least share of the whole time that the encoder alone would take."""


@dataclass(frozen=True)
class Size:
    """How much work."""

    kind: str
    identities: int
    batch: int
    num_embedded: int
    runs: int


FULL = Size(kind="vit-b16", identities=64, batch=64, num_embedded=32, runs=3)
USUAL = Size(kind="vit-b16", identities=64, batch=64, num_embedded=32, runs=2)
QUICK = Size(kind="rn-tiny", identities=2, batch=4, num_embedded=8, runs=1)


@contextmanager
def one_core() -> Iterator[None]:
    """Let torch and the decoders have one thread each, as a worker of a data loader has."""
    before = torch.get_num_threads(), contents.NUM_THREADS
    torch.set_num_threads(1)
    contents.NUM_THREADS = 1
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        contents.NUM_THREADS = before[1]


def exhaust(batches: Iterable[Tensor]) -> None:
    """Read batches and let each go, as an encoder would."""
    for _ in batches:
        pass


def rows(scale: Scale) -> Iterator[Row]:
    """Time the image pipeline, then a folder from end to end."""
    size = scale.choose(QUICK, USUAL, FULL)
    encoder = create_clip_encoder(EncoderRequest(kind=size.kind))
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "people"
        DrawnDataset(
            identities=size.identities, test_identities=2, images_per_camera=2, cameras=3
        ).draw(root)
        laboratory = _Laboratory(root, encoder, size)
        yield laboratory.pipeline()
        yield laboratory.folder()


class _Laboratory:
    """Images and an encoder."""

    def __init__(self, root: Path, encoder: ImageEncoder, size: Size) -> None:
        self._dataset = Market1501(root)
        self._encoder = encoder
        self._size = size
        self._plain = PlainImages.validation(encoder.geometry)
        self._images = [sample.name for sample in self._dataset.samples(Split.TRAIN)]
        self._paths = {image: root / image for image in self._images}

    def pipeline(self) -> Row:
        ours, plain = self._read_all(self._read), self._read_all(self._read_plainly)
        with one_core():
            is_equal = all(torch.equal(*pair) for pair in zip(ours(), plain(), strict=True))
            timing = compare(
                lambda: exhaust(ours()), lambda: exhaust(plain()), runs=self._size.runs
            )
        decoder = "simplejpeg" if decoding.IS_FAST else "Pillow"
        return _row(
            timing,
            part=f"image pipeline, {len(self._images)} JPEGs 128x64 -> "
            f"{self._encoder.geometry.image_size}, one core",
            ways=(f"{decoder}, batched resize", "PIL and torchvision per image"),
            goal=f">= {PIPELINE_GOAL:g}x",
            is_met=is_equal and timing.ratio >= PIPELINE_GOAL,
            exactness="bit-equal" if is_equal else "DIFFERS",
            num_images=len(self._images),
        )

    def folder(self) -> Row:
        images = self._images[: self._size.num_embedded]
        batch_size = max(self._size.num_embedded // 4, 1)
        embedder = Embedder(encoder=self._encoder, listener=Broadcast(), batch_size=batch_size)
        starts = range(0, len(images), batch_size)
        batches = [self._read_plainly(images[start : start + batch_size]) for start in starts]

        def encode() -> Tensor:
            with torch.no_grad():
                vectors = [self._encoder.encode_images(batch).embedding() for batch in batches]
            return F.normalize(torch.cat(vectors), dim=1)

        def embed() -> Tensor:
            return embedder.embed(self._dataset.reader, images, camids=None, subset="benchmark")

        deviation = (embed() - encode()).abs().max().item()
        timing = compare(embed, encode, runs=self._size.runs)
        return _row(
            timing,
            part=f"folder to vectors, {len(images)} images, {self._size.kind}",
            ways=("decode, resize, encode", "the encoder alone, images in memory"),
            goal=f">= {ENCODER_SHARE_GOAL:g}x",
            is_met=deviation == 0 and timing.ratio >= ENCODER_SHARE_GOAL,
            exactness=f"vectors differ by {deviation:.0e}",
            num_images=len(images),
        )

    def _read_all(self, read: Callable[[list[str]], Tensor]) -> Callable[[], Iterator[Tensor]]:
        size = self._size.batch
        batches = [self._images[row : row + size] for row in range(0, len(self._images), size)]
        return lambda: (read(batch) for batch in batches)

    def _read(self, names: list[str]) -> Tensor:
        geometry = self._encoder.geometry
        read = self._dataset.reader.read(
            names, size=geometry.image_size, resampling=Resampling.BILINEAR
        )
        return normalise(read, mean=geometry.pixel_mean, std=geometry.pixel_std)

    def _read_plainly(self, names: list[str]) -> Tensor:
        return self._plain.read([self._paths[name] for name in names])


def _row(
    timing: Timing,
    *,
    part: str,
    ways: tuple[str, str],
    goal: str,
    is_met: bool,
    exactness: str,
    num_images: int,
) -> Row:
    return Row(
        part=part,
        ours=ways[0],
        plain=ways[1],
        goal=goal,
        is_met=is_met,
        exactness=exactness,
        details={
            "images_per_second": num_images / timing.ours_seconds,
            "plain_images_per_second": num_images / timing.plain_seconds,
        },
        **asdict(timing),
    )
