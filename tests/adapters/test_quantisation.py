"""Encoders in int8, by OpenVINO and NNCF."""

import json
import sys
from pathlib import Path

import pytest
import torch

from reid.adapters.encoders.clip import create_clip_encoder
from reid.adapters.encoders.exported import open_exported_encoder
from reid.adapters.encoders.exporting import ExportFolder
from reid.application.export import Export
from reid.domain.errors import ConfigurationError, EncoderError
from reid.domain.numerical_error import probe_images
from reid.domain.services.image_sample import ImageSample
from reid.domain.values.encoders import EncoderRequest
from reid.domain.values.samples import Split
from tests.e2e.program import run
from tests.exports import RN, VIT_WITH_CAMERAS, require
from tests.fakes.dataset import FakeDataset


def sample() -> ImageSample:
    dataset = FakeDataset(identities=10)
    names = [one.name for one in dataset.samples(Split.TRAIN)]
    return ImageSample(reader=dataset, names=names, origin="fake", count=8, seed=0)


def require_quantisation() -> None:
    require("openvino")
    pytest.importorskip("nncf", reason="needs clip-reid[quantize]")


@pytest.mark.filterwarnings("ignore")  # of nncf's own imports
@pytest.mark.parametrize("request_for", [RN, VIT_WITH_CAMERAS], ids=["rn-tiny", "vit-cameras"])
def test_an_encoder_in_int8_is_smaller_and_near(
    request_for: EncoderRequest, tmp_path: Path
) -> None:
    require_quantisation()
    encoder, images = create_clip_encoder(request_for), sample()
    folders = {}
    for precision in ("fp32", "int8"):
        folders[precision] = tmp_path / precision
        place = ExportFolder(
            folders[precision], runtime="openvino", precision=precision, sample=images
        )
        export = Export(encoder=encoder, seed=1, sample=images)
        outcome = export.run(place, max_error=0.1)  # random weights hardly tell images apart
        assert outcome.precision == precision
    sizes = {name: (folder / "encoder.bin").stat().st_size for name, folder in folders.items()}
    assert sizes["int8"] < 0.5 * sizes["fp32"]
    content = json.loads((folders["int8"] / "encoder.json").read_text())
    assert content["calibration"] == images.record()
    assert content["contract"]["outputs"]["descriptor"]["is_normalised"]
    exact, quantised = (
        open_exported_encoder(EncoderRequest(kind=None, weights=str(folder)))
        for folder in folders.values()
    )
    assert quantised.description.weights.endswith("exported for openvino in int8")
    # Vectors of the two do not mix: a gallery of one refuses the other.
    assert quantised.weights_digest != exact.weights_digest
    probes = probe_images(encoder.geometry, 3, generator=torch.Generator().manual_seed(1))
    got, wanted = (one.encode_images(probes).embedding() for one in (quantised, exact))
    assert torch.nn.functional.cosine_similarity(got, wanted).min() > 0.9
    assert not torch.equal(got, wanted)


@pytest.mark.filterwarnings("ignore")
def test_an_export_in_int8_beyond_the_limit_leaves_nothing(tmp_path: Path) -> None:
    require_quantisation()
    place = ExportFolder(tmp_path / "out", runtime="openvino", precision="int8", sample=sample())
    with pytest.raises(EncoderError, match="nothing was kept"):
        Export(encoder=create_clip_encoder(RN), seed=1).run(place, max_error=1e-9)
    assert list(tmp_path.iterdir()) == []


def test_int8_needs_images_and_nncf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require("openvino")
    encoder = create_clip_encoder(RN)
    with (
        pytest.raises(ConfigurationError, match=r"export\.calibration"),
        ExportFolder(tmp_path / "out", runtime="openvino", precision="int8").write(encoder),
    ):
        pass
    name = "reid.adapters.encoders.openvino_quantisation"
    monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "nncf", None)
    place = ExportFolder(tmp_path / "out", runtime="openvino", precision="int8", sample=sample())
    with (
        pytest.raises(ConfigurationError, match=r"pip install 'clip-reid\[quantize\]'"),
        place.write(encoder),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_the_command_names_its_option(tmp_path: Path) -> None:
    given = ("--encoder", "rn-tiny", "--weights", "random", "--precision", "int8")
    refused = run("export", tmp_path / "out", *given, expect=3)
    assert "set --calibration to a folder" in refused.stderr
    refused = run("export", tmp_path / "out", *given, "--format", "onnx", expect=3)
    assert "onnx does not take int8: choose fp32, or another format" in refused.stderr
