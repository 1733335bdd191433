"""What an exported folder says of itself is enough to use it without reid."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reid.adapters.encoders.exported import HEADER_FILE, open_exported_encoder
from reid.adapters.encoders.exporting import ExportFolder
from reid.adapters.encoders.timm_encoder import create_timm_encoder
from reid.application.export import Export
from reid.domain.errors import EncoderError
from reid.domain.numerical_error import probe_images
from reid.domain.values.encoders import EncoderRequest
from reid.domain.values.samples import ImageSize
from reid.library import Reid
from tests.exports import exported, opened, require
from tests.images import scene

EXAMPLE = Path(__file__).parents[2] / "examples" / "describe.py"


def contract_in(folder: Path) -> dict[str, Any]:
    contract: dict[str, Any] = json.loads((folder / HEADER_FILE).read_text())["contract"]
    return contract


def test_the_folder_states_what_it_takes_and_gives() -> None:
    contract, geometry = contract_in(exported("rn-tiny")), opened("rn-tiny").geometry
    assert contract["inputs"] == {
        "images": {
            "shape": ["B", 3, 48, 32], "type": "float32", "channels": "rgb", "range": 1,
            "mean": list(geometry.pixel_mean), "std": list(geometry.pixel_std),
            "resampling": "bilinear", "height": 48, "width": 32,
        }
    }  # fmt: skip
    assert {
        name: (output["width"], output["is_normalised"])
        for name, output in contract["outputs"].items()
    } == {
        "descriptor": (geometry.embedding_width, True),
        "embedding": (geometry.embedding_width, False),
        "penultimate": (geometry.penultimate_width, False),
    }


def test_cameras_are_an_input_too() -> None:
    contract = contract_in(exported("vit-tiny"))
    assert contract["inputs"]["camids"] == {
        "shape": ["B"], "type": "int64", "cameras": 3, "no_camera": -1,
    }  # fmt: skip


def drawn_images(folder: Path) -> list[Path]:
    paths = [folder / f"{seed}.png" for seed in range(3)]
    for seed, path in enumerate(paths):
        scene(height=80 + seed, width=40, seed=seed).save(path)
    return paths


def test_ten_lines_without_reid_give_its_vectors(tmp_path: Path) -> None:
    folder, paths = exported("rn-tiny", runtime="onnx"), drawn_images(tmp_path)
    assert "reid" not in {line.split()[1] for line in EXAMPLE.read_text().splitlines()
                          if line.startswith(("import ", "from "))}  # fmt: skip
    done = subprocess.run(
        [sys.executable, EXAMPLE, folder, *paths], capture_output=True, text=True, check=True
    )
    rows = [line.split() for line in done.stdout.splitlines()]
    assert [row[0] for row in rows] == [str(path) for path in paths]
    got = np.array([row[1:] for row in rows], dtype=np.float64)
    wanted = Reid(weights=folder).embed(paths)
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(got, axis=1), 1, atol=1e-5)


def test_openvino_s_descriptor_is_the_normalised_embedding() -> None:
    folder = exported("rn-tiny")
    import openvino

    encoder = opened("rn-tiny")
    images = probe_images(encoder.geometry, 3, generator=torch.Generator().manual_seed(3))
    exactly = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(folder / "encoder.xml", "CPU", exactly)
    found = compiled({"images": images.numpy()})["descriptor"]
    wanted = torch.nn.functional.normalize(encoder.encode_images(images).embedding(), dim=1)
    np.testing.assert_allclose(found, wanted.numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("model", "width", "runtime"),
    [
        ("test_efficientnet", None, "openvino"),
        ("test_efficientnet", 24, "onnx"),
        ("test_vit", None, "onnx"),
    ],
)
def test_a_tower_of_timm_is_exported_too(
    tmp_path: Path, model: str, width: int | None, runtime: str
) -> None:
    require(runtime)
    options = {} if width is None else {"width": width}
    encoder = create_timm_encoder(
        EncoderRequest(kind=f"timm:{model}", image_size=ImageSize(64, 32), options=options)
    )
    folder = tmp_path / "out"
    Export(encoder=encoder, seed=1).run(ExportFolder(folder, runtime=runtime))
    written = open_exported_encoder(EncoderRequest(kind=None, weights=str(folder)))
    assert written.geometry == encoder.geometry
    assert ("penultimate" in contract_in(folder)["outputs"]) == (width is not None)
    images = probe_images(encoder.geometry, 3, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        wanted = encoder.encode_images(images)
    got = written.encode_images(images)
    torch.testing.assert_close(got.embedding(), wanted.embedding(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(got.penultimate, wanted.penultimate, rtol=1e-4, atol=1e-5)


def test_an_operation_that_a_runtime_lacks_is_an_error(tmp_path: Path) -> None:
    require("openvino")
    # It resizes its positions in every run, by antialiased cubic interpolation.
    encoder = create_timm_encoder(
        EncoderRequest(kind="timm:test_vit", image_size=ImageSize(64, 32))
    )
    with pytest.raises(EncoderError, match="OpenVINO cannot express this encoder"):
        Export(encoder=encoder, seed=1).run(ExportFolder(tmp_path / "out", runtime="openvino"))
    assert list(tmp_path.iterdir()) == []
