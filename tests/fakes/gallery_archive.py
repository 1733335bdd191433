"""An exported gallery in memory."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from reid.domain.errors import GalleryError
from reid.domain.values.galleries import EncoderFingerprint, NewImage
from reid.domain.values.open_set import Calibration
from reid.ports.gallery_archive import ArchivedGallery
from tests.galleries import CALIBRATION


def archived(
    fingerprint: EncoderFingerprint,
    images: Sequence[NewImage],
    vectors: Tensor,
    *,
    calibrations: tuple[Calibration, ...] = (),
    part_size: int = 2,
) -> ArchivedGallery:
    """Tell a gallery that is in memory in parts."""
    return ArchivedGallery(
        fingerprint=fingerprint,
        num_images=len(images),
        calibrations=calibrations,
        parts=lambda: (
            (images[start : start + part_size], vectors[start : start + part_size])
            for start in range(0, len(images), part_size)
        ),
    )


def two_images(
    *, name: str = "anna/1.jpg", calibrations: tuple[Calibration, ...] = (CALIBRATION,)
) -> ArchivedGallery:
    """A small gallery with all that can be said of an image."""
    vectors = torch.randn(2, 6, generator=torch.Generator().manual_seed(0))
    return archived(
        EncoderFingerprint(
            name="rn-tiny",
            weights="random (seed 0)",
            digest="aa",
            width=6,
            options={"image_size": [64, 32]},
        ),
        (
            NewImage(name=name, source="here", content="c1", label="anna", camera="1"),
            NewImage(
                name="2.jpg",
                source="there",
                content="c2",
                label="b\u00e9rt",
                expires_at="2026-01-01T00:00:00Z",
            ),
        ),
        F.normalize(vectors, dim=1),
        calibrations=calibrations,
    )


def whole(content: ArchivedGallery) -> tuple[tuple[NewImage, ...], Tensor]:
    parts = list(content.parts())
    images = tuple(image for images, _ in parts for image in images)
    return images, torch.cat([vectors for _, vectors in parts])


class FakeArchive:
    def __init__(self, *, part_size: int = 2) -> None:
        self.content: ArchivedGallery | None = None
        self.part_size = part_size

    @property
    def place(self) -> str:
        return "fake archive"

    def write(self, content: ArchivedGallery) -> None:
        if self.content is not None:
            raise GalleryError("the fake archive exists")
        self.content = archived(
            content.fingerprint,
            *whole(content),
            calibrations=content.calibrations,
            part_size=self.part_size,
        )

    def read(self) -> ArchivedGallery:
        if self.content is None:
            raise GalleryError("the fake archive does not exist")
        return self.content
