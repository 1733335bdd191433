"""Exported encoders, each written once for all tests of a process."""

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

import pytest

from reid.adapters.encoders.exported import ExportedEncoder, open_exported_encoder
from reid.adapters.encoders.exporting import ExportFolder
from reid.adapters.encoders.openclip import create_openclip_encoder
from reid.application.export import Export
from reid.domain.values.encoders import EncoderRequest
from reid.domain.values.samples import ImageSize

SMALL = ImageSize(48, 32)
RN = EncoderRequest(kind="rn-tiny", image_size=SMALL)
VIT_WITH_CAMERAS = EncoderRequest(kind="vit-tiny", image_size=SMALL, stride=12, num_cameras=3)
PACKAGES = {"openvino": ("openvino",), "onnx": ("onnxruntime", "onnxscript")}


def require(runtime: str) -> None:
    for package in PACKAGES[runtime]:
        pytest.importorskip(package, reason=f"needs clip-reid[{runtime}]")


@cache
def _scratch() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="reid-exports-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def exported(kind: str, *, runtime: str = "openvino", precision: str = "fp32") -> Path:
    """Export `rn-tiny`, or `vit-tiny` with cameras; skip the test where the runtime is absent."""
    require(runtime)
    return _written(kind, runtime, precision)


@cache
def _written(kind: str, runtime: str, precision: str) -> Path:
    request = RN if kind == "rn-tiny" else VIT_WITH_CAMERAS
    folder = _scratch() / f"{kind}-{runtime}-{precision}"
    place = ExportFolder(folder, runtime=runtime, precision=precision)
    Export(encoder=create_openclip_encoder(request), seed=1).run(place)
    return folder


def opened(kind: str, *, runtime: str = "openvino", precision: str = "fp32") -> ExportedEncoder:
    folder = exported(kind, runtime=runtime, precision=precision)
    request = EncoderRequest(kind=None, weights=str(folder))
    return open_exported_encoder(request)
