"""What every exported gallery must do."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from reid.adapters.galleries.archive.file import FileArchive
from reid.domain.errors import GalleryError
from reid.domain.values.galleries import Calibration, EncoderStamp, NewPicture
from reid.domain.values.gallery_archives import ArchivedGallery
from reid.ports.gallery_archive import GalleryArchive
from tests.fakes.gallery_archive import FakeArchive, archived
from tests.galleries import CALIBRATION

ARCHIVES: dict[str, Callable[[Path], GalleryArchive]] = {
    "file": FileArchive,
    "fake": lambda _: FakeArchive(),
}
OF_TRACKLETS = replace(CALIBRATION, fusion="best, tracklets")


@pytest.fixture(params=list(ARCHIVES.values()), ids=list(ARCHIVES))
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> GalleryArchive:
    factory: Callable[[Path], GalleryArchive] = request.param
    return factory(tmp_path / "gallery.safetensors")


def content(
    *, image: str = "anna/1.jpg", calibrations: tuple[Calibration, ...] = (CALIBRATION,)
) -> ArchivedGallery:
    vectors = torch.randn(2, 6, generator=torch.Generator().manual_seed(0))
    return archived(
        EncoderStamp(
            name="rn-tiny",
            weights="random (seed 0)",
            digest="aa",
            width=6,
            options={"image_size": [64, 32]},
        ),
        (
            NewPicture(image=image, source="here", content="c1", label="anna", camera="1"),
            NewPicture(
                image="2.jpg",
                source="there",
                content="c2",
                label="b\u00e9rt",
                expires_at="2026-01-01T00:00:00Z",
            ),
        ),
        F.normalize(vectors, dim=1),
        calibrations=calibrations,
    )


@pytest.mark.parametrize("calibrations", [(), (CALIBRATION,), (CALIBRATION, OF_TRACKLETS)])
def test_a_gallery_comes_back_as_it_was(
    archive: GalleryArchive, calibrations: tuple[Calibration, ...]
) -> None:
    written = content(calibrations=calibrations)
    archive.write(written)
    read = archive.read()
    assert (read.stamp, read.num_pictures, read.calibrations) == (written.stamp, 2, calibrations)
    for _ in range(2):
        assert tuple(read.pictures()) == tuple(written.pictures())
        assert torch.equal(torch.cat([*read.vectors()]), torch.cat([*written.vectors()]))


def test_nothing_is_overwritten(archive: GalleryArchive) -> None:
    archive.write(content())
    with pytest.raises(GalleryError, match="exists"):
        archive.write(content(calibrations=()))
    assert archive.read().calibrations == (CALIBRATION,)


def test_what_is_not_there_cannot_be_read(archive: GalleryArchive) -> None:
    with pytest.raises(GalleryError, match="does not exist"):
        archive.read()
