"""What every exported gallery must do."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from reid.adapters.galleries.archive import FileArchive
from reid.domain.errors import GalleryError
from reid.domain.values.open_set import Calibration
from reid.ports.gallery_archive import GalleryArchive
from tests.fakes.gallery_archive import FakeArchive, two_images, whole
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


@pytest.mark.parametrize("calibrations", [(), (CALIBRATION,), (CALIBRATION, OF_TRACKLETS)])
def test_a_gallery_comes_back_as_it_was(
    archive: GalleryArchive, calibrations: tuple[Calibration, ...]
) -> None:
    written = two_images(calibrations=calibrations)
    archive.write(written)
    read = archive.read()
    assert (read.fingerprint, read.num_images, read.calibrations) == (
        written.fingerprint,
        2,
        calibrations,
    )
    for _ in range(2):
        assert whole(read)[0] == whole(written)[0]
        assert torch.equal(whole(read)[1], whole(written)[1])


def test_nothing_is_overwritten(archive: GalleryArchive) -> None:
    archive.write(two_images())
    with pytest.raises(GalleryError, match="exists"):
        archive.write(two_images(calibrations=()))
    assert archive.read().calibrations == (CALIBRATION,)


def test_what_is_not_there_cannot_be_read(archive: GalleryArchive) -> None:
    with pytest.raises(GalleryError, match="does not exist"):
        archive.read()
