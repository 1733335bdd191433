"""What every export place promises."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from reid.adapters.encoders.clip import create_clip_encoder
from reid.adapters.encoders.exporting import ExportFolder
from reid.adapters.encoders.sharing import ExportFile
from reid.domain.values.encoders import EncoderRequest
from reid.ports.image_encoder import ExportPlace, ImageEncoder
from tests.exports import RN, require
from tests.fakes.encoder import FakeEncoder
from tests.fakes.export_place import FakeExportPlace


def in_a_folder(folder: Path) -> tuple[ExportPlace, ImageEncoder]:
    require("openvino")
    return ExportFolder(folder / "out", runtime="openvino"), create_clip_encoder(RN)


def in_memory(folder: Path) -> tuple[ExportPlace, ImageEncoder]:  # noqa: ARG001
    return FakeExportPlace(), FakeEncoder()


def in_a_file(folder: Path) -> tuple[ExportPlace, ImageEncoder]:
    def reopen(path: Path) -> ImageEncoder:
        return create_clip_encoder(EncoderRequest(kind=None, weights=str(path)))

    place = ExportFile(folder / "out" / "one.safetensors", precision="fp32", open_encoder=reopen)
    return place, create_clip_encoder(RN)


PLACES: dict[str, Callable[[Path], tuple[ExportPlace, ImageEncoder]]] = {
    "openvino": in_a_folder,
    "safetensors": in_a_file,
    "fake": in_memory,
}


@pytest.fixture(params=list(PLACES.values()), ids=list(PLACES))
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[ExportPlace, ImageEncoder]:
    made: tuple[ExportPlace, ImageEncoder] = request.param(tmp_path)
    return made


def test_what_was_written_describes_images_as_the_original(
    pair: tuple[ExportPlace, ImageEncoder],
) -> None:
    place, encoder = pair
    size = encoder.geometry.image_size
    images = torch.randn(3, 3, size.height, size.width, generator=torch.Generator().manual_seed(1))
    assert place.precision == "fp32"
    with torch.no_grad(), place.write(encoder) as (written, keep):
        assert written.geometry == encoder.geometry
        for got, wanted in (
            (written.encode_images(images).embedding(), encoder.encode_images(images).embedding()),
            (written.encode_images(images).penultimate, encoder.encode_images(images).penultimate),
        ):
            torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)
        keep({"seed": 1})


def test_what_is_not_kept_leaves_the_place_free(pair: tuple[ExportPlace, ImageEncoder]) -> None:
    place, encoder = pair
    for _ in range(2):
        with place.write(encoder):
            pass
