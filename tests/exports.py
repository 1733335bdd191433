"""Exported encoders, each written once for all tests, whichever process runs them."""

import fcntl
import os
from functools import cache
from pathlib import Path

import pytest

from reid.adapters.encoders.clip import create_clip_encoder
from reid.adapters.encoders.exported import ExportedEncoder, open_exported_encoder
from reid.adapters.encoders.exporting import ExportFolder
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


def exported(kind: str, *, runtime: str = "openvino", precision: str = "fp32") -> Path:
    """Export `rn-tiny`, or `vit-tiny` with cameras; skip the test where the runtime is absent."""
    require(runtime)
    return _written(kind, runtime, precision)


@cache
def _written(kind: str, runtime: str, precision: str) -> Path:
    request = RN if kind == "rn-tiny" else VIT_WITH_CAMERAS
    folder = Path(os.environ["EXPORTS_OF_ALL_TESTS"]) / f"{kind}-{runtime}-{precision}"
    folder.parent.mkdir(exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until the file is closed
        if not folder.exists():
            place = ExportFolder(folder, runtime=runtime, precision=precision)
            Export(encoder=create_clip_encoder(request), seed=1).run(place)
    return folder


def opened(kind: str, *, runtime: str = "openvino", precision: str = "fp32") -> ExportedEncoder:
    folder = exported(kind, runtime=runtime, precision=precision)
    request = EncoderRequest(kind=None, weights=str(folder))
    return open_exported_encoder(request)
