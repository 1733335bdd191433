"""An exported gallery in memory."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from reid.domain.errors import GalleryError
from reid.domain.values.galleries import Calibration, EncoderFingerprint, NewImage
from reid.domain.values.gallery_archives import ArchivedGallery
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
        images=lambda: iter(images),
        vectors=lambda: iter(torch.split(vectors, part_size)),
        calibrations=calibrations,
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
            tuple(content.images()),
            torch.cat(list(content.vectors())),
            calibrations=content.calibrations,
            part_size=self.part_size,
        )

    def read(self) -> ArchivedGallery:
        if self.content is None:
            raise GalleryError("the fake archive does not exist")
        return self.content
