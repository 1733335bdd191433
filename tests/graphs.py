"""Graphs of other programs, drawn for tests: each describes an image by its mean colour.

The mean of each channel as it arrives shows in which order, range and normalisation pixels come.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest

from reid.adapters.encoders.graphs import open_graph_encoder
from reid.domain.values.encoders import EncoderRequest
from reid.domain.values.graphs import GraphRequest
from reid.ports.image_encoder import ImageEncoder

HEIGHT, WIDTH = 8, 4
RAW_BGR = GraphRequest(channels="bgr", range=255, mean=(0, 0, 0), std=(1, 1, 1))
GIVEN_RAW_BGR = (
    "encoder.graph.channels=bgr", "encoder.graph.range=255",
    "encoder.graph.mean=[0, 0, 0]", "encoder.graph.std=[1, 1, 1]",
)  # fmt: skip
"""Settings that say the same."""


def draw_ir(
    path: Path,
    *,
    batch: int = 1,
    size: tuple[int, int] = (HEIGHT, WIDTH),
    is_channels_last: bool = False,
    input_type: Any = np.float32,
    mixes: bool = False,
    scale: float = 1.0,
    outputs: tuple[str, ...] = ("descriptor",),
) -> Path:
    """Write OpenVINO IR; -1 leaves a length open, `mixes` forbids batches of more than one."""
    pytest.importorskip("openvino", reason="needs clip-reid[openvino]")
    from openvino import Model, opset13, save_model

    sides = [*size, 3] if is_channels_last else [3, *size]
    images = opset13.parameter([batch, *sides], input_type, name="data")
    axes = [1, 2] if is_channels_last else [2, 3]
    pixels = opset13.convert(images, "f32")
    means = opset13.reduce_mean(pixels, np.array(axes), keep_dims=False)
    # A constant large enough to lie in the .bin beside.
    weights = np.diag(np.full(3, scale, np.float32))
    described = opset13.matmul(
        means, opset13.constant(weights), transpose_a=False, transpose_b=False
    )
    if mixes:
        shape = opset13.constant(np.array([1, -1]))
        described = opset13.reshape(described, shape, special_zero=False)
        described = opset13.slice(described, [0], [3], [1], [1])
    named = []
    for number, name in enumerate(outputs):
        port = opset13.multiply(described, opset13.constant(np.float32(1 + number)))
        port.output(0).get_tensor().set_names({name})
        named.append(opset13.result(port))
    save_model(Model(named, [images], "drawn"), path, compress_to_fp16=False)
    return path


def open_drawn() -> ImageEncoder:
    """Open such an IR of each image's mean colour, which leaves no file behind."""
    with TemporaryDirectory() as folder:
        path = draw_ir(Path(folder) / "drawn.xml")
        return open_graph_encoder(EncoderRequest(kind=None, weights=str(path), graph=RAW_BGR))


def draw_onnx(path: Path, *, batch: int | str = 1, is_external: bool = False) -> Path:
    """Write ONNX; a batch of a name leaves it open."""
    pytest.importorskip("onnx", reason="needs clip-reid[onnx]")
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    scale = numpy_helper.from_array(np.eye(3, dtype=np.float32), "scale")
    shape = [batch, 3, HEIGHT, WIDTH]
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["data"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["means"]),
            helper.make_node("MatMul", ["means", "scale"], ["descriptor"]),
        ],
        "drawn",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("descriptor", TensorProto.FLOAT, [batch, 3])],
        [scale],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save_model(
        model, path, save_as_external_data=is_external, location="weights.data", size_threshold=0
    )
    return path
