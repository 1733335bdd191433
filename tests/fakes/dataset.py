"""Datasets and image lists that live in memory: every image is a plain colour."""

import hashlib
import zlib
from collections.abc import Mapping, Sequence
from io import BytesIO

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from reid.domain.errors import DatasetError
from reid.domain.values.samples import (
    ImageSize,
    ListedImage,
    Resampling,
    Sample,
    Split,
    UnreadableImage,
)
from reid.ports.dataset import ImageReader

STORED = ImageSize(16, 8)


class FakeImages:
    """Images by name: (3, H, W) uint8, or the reason why they cannot be read."""

    def __init__(self, images: Mapping[str, Tensor], *, damaged: Mapping[str, str]) -> None:
        self.pixels = dict(images)
        self.damaged = dict(damaged)
        self.resamplings: set[Resampling] = set()
        """Filters that were asked for."""

    def read(self, names: Sequence[str], *, size: ImageSize, resampling: Resampling) -> Tensor:
        if not names:
            return torch.empty((0, 3, size.height, size.width), dtype=torch.uint8)
        self.resamplings.add(resampling)
        stored = torch.stack([self._find(name) for name in names])
        return F.interpolate(
            stored,
            size=(size.height, size.width),
            mode=resampling.value,
            antialias=True,
            align_corners=False,
        )

    def find_unreadable(self, names: Sequence[str]) -> tuple[UnreadableImage, ...]:
        return tuple(
            UnreadableImage(name, reason)
            for name in names
            if (reason := self._reason(name)) is not None
        )

    def thumbnails(self, names: Sequence[str], *, height: int) -> tuple[bytes | None, ...]:
        return tuple(
            None if self._reason(name) else encode_jpeg(self.pixels[name], height=height)
            for name in names
        )

    def content_digests(self, names: Sequence[str]) -> tuple[str, ...]:
        return tuple(
            ""
            if self._reason(name)
            else hashlib.sha256(self.pixels[name].numpy().tobytes()).hexdigest()
            for name in names
        )

    def _find(self, name: str) -> Tensor:
        reason = self._reason(name)
        if reason is not None:
            raise DatasetError(f"{name} cannot be read: {reason}")
        return self.pixels[name]

    def _reason(self, name: str) -> str | None:
        if name in self.damaged:
            return self.damaged[name]
        return None if name in self.pixels else "no such image"


class FakeDataset(FakeImages):
    """People in one colour each, with a camera's tint and a little noise of the image's own.

    Train pids are 2, 5, 8, ..., test pids 1, 4, 7, ...; each person passes each camera. A query is
    the first image of each test person in each camera. Junk is not listed.
    """

    def __init__(
        self,
        *,
        identities: int = 4,
        test_identities: int = 3,
        cameras: int = 2,
        images_per_camera: int = 2,
        distractors: int = 1,
        splits: Mapping[Split, Sequence[Sample]] | None = None,
        damaged: Mapping[str, str] | None = None,
        unparsed: Mapping[Split, Sequence[str]] | None = None,
        stored: ImageSize = STORED,
    ) -> None:
        self._splits = splits or {
            Split.TRAIN: _annotations(
                "train", [3 * n + 2 for n in range(identities)], cameras, range(images_per_camera)
            ),
            Split.QUERY: _annotations(
                "query", [3 * n + 1 for n in range(test_identities)], cameras, range(1)
            ),
            Split.GALLERY: [
                *_annotations("gallery", [0], 1, range(distractors)),
                *_annotations(
                    "gallery",
                    [3 * n + 1 for n in range(test_identities)],
                    cameras,
                    range(1, max(images_per_camera, 2)),
                ),
            ],
        }
        self._unparsed = unparsed or {}
        listed = [sample for samples in self._splits.values() for sample in samples]
        super().__init__(
            {
                sample.name: paint(sample.name, pid=sample.pid, camid=sample.camid, size=stored)
                for sample in listed
            },
            damaged=damaged or {},
        )

    @property
    def name(self) -> str:
        return "fake"

    @property
    def reader(self) -> ImageReader:
        return self

    def samples(self, split: Split) -> tuple[Sample, ...]:
        samples = self._splits.get(split, ())
        if not samples:
            raise DatasetError(f"the fake dataset has no {split} images")
        return tuple(sorted(samples, key=lambda sample: sample.name))

    def unparsed_names(self, split: Split) -> tuple[str, ...]:
        return tuple(self._unparsed.get(split, ()))


class FakeImageSource(FakeImages):
    """A list of images for `identify`; each is painted in its label's colour."""

    def __init__(
        self, images: Sequence[ListedImage], *, damaged: Mapping[str, str] | None = None
    ) -> None:
        self._images = tuple(sorted(images, key=lambda image: image.name))
        super().__init__(
            {
                image.name: paint(
                    image.name,
                    pid=zlib.crc32((image.label or image.name).encode()),
                    camid=0,
                    size=STORED,
                )
                for image in self._images
            },
            damaged=damaged or {},
        )

    @property
    def place(self) -> str:
        return "fake folder"

    @property
    def reader(self) -> ImageReader:
        return self

    def images(self) -> tuple[ListedImage, ...]:
        if not self._images:
            raise DatasetError("the fake source holds no image")
        return self._images


def encode_jpeg(pixels: Tensor, *, height: int) -> bytes:
    image = Image.fromarray(pixels.permute(1, 2, 0).numpy())
    image.thumbnail((4 * height, height))
    content = BytesIO()
    image.save(content, "JPEG")
    return content.getvalue()


def paint(name: str, *, pid: int, camid: int, size: ImageSize) -> Tensor:
    """Paint (3, H, W) uint8: the person's colour, 5 brighter per camera, noise up to 10."""
    colour = torch.randint(40, 200, (3, 1, 1), generator=_generator(f"person {pid}"))
    noise = torch.randint(0, 11, (3, size.height, size.width), generator=_generator(name))
    return (colour + 5 * camid + noise).clamp(0, 255).to(torch.uint8)


def _generator(purpose: str) -> torch.Generator:
    return torch.Generator().manual_seed(zlib.crc32(purpose.encode()))


def _annotations(folder: str, pids: Sequence[int], cameras: int, shots: range) -> list[Sample]:
    return [
        Sample(name=f"{folder}/{pid:04d}_c{camid + 1}_{shot:02d}", pid=pid, camid=camid)
        for pid in pids
        for camid in range(cameras)
        for shot in shots
    ]
