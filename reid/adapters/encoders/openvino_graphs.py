"""Graphs that OpenVINO executes; the only importer of openvino."""

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch.export import ExportedProgram

from reid.adapters.encoders.exported import Arrays, Graph
from reid.adapters.encoders.graph_files import ANY, GraphFile, Run, Shape
from reid.domain.errors import EncoderError

# Unless it is missing, OpenVINO's Python package reports every import over the network.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # how Python marks a module as absent

import openvino  # noqa: E402

GRAPH_NAME = "encoder"
_GRAPH_FILE = f"{GRAPH_NAME}.xml"
_CORE = openvino.Core()
"""One for the whole process. Each loads a plug-in that gives the main thread a stack for signals.
If several are unloaded in another order than they were loaded, a freed stack stays in use, and the
next signal, such as Ctrl-C, crashes the process (OpenVINO 2026.4)."""

_PRECISIONS = {"fp32": openvino.Type.f32, "bf16": openvino.Type.bf16, "int8": openvino.Type.f32}
"""Of what is not quantised."""


def write(
    program: ExportedProgram,
    folder: Path,
    inputs: Mapping[str, list[int]],
    outputs: Sequence[str],
) -> None:
    """Convert a traced program and write it with weights in float32; see `Runtime`."""
    try:
        model = openvino.convert_model(program)
    except openvino.frontend.OpConversionFailure as error:
        missing = str(error).strip().splitlines()[-1].strip(" -")
        raise EncoderError(
            f"OpenVINO cannot express this encoder ({missing}): export it for onnx"
        ) from error
    for ports, names in ((model.outputs, outputs), (model.inputs, inputs)):
        for port, name in zip(ports, names, strict=True):
            port.get_tensor().set_names({name})
    # The conversion loses the shapes; with all but B known, OpenVINO picks its kernels in advance.
    model.reshape(dict(inputs))
    save(model, folder)


def save(model: openvino.Model, folder: Path, *, name: str = GRAPH_NAME) -> None:
    """Write a graph with all its digits.

    Raises:
        OSError: The folder cannot be written.
    """
    try:
        openvino.save_model(model, folder / f"{name}.xml", compress_to_fp16=False)
    except RuntimeError as error:
        # OpenVINO reports a full disk as a failed stream.
        raise OSError(f"OpenVINO could not write its files ({error})") from error


def read_written(folder: Path) -> openvino.Model:
    """Read what `write` wrote."""
    return _CORE.read_model(folder / _GRAPH_FILE)


def operation_types(model: openvino.Model) -> set[str]:
    """Return the names of the types of a graph's operations."""
    return {operation.get_type_name() for operation in model.get_ops()}


def open_graph(folder: Path, precision: str, outputs: Sequence[str]) -> Graph:
    """Compile what `write` wrote for as many threads as torch uses; see `Runtime`.

    A processor without bfloat16 ignores `bf16`.
    """
    compiled = _CORE.compile_model(folder / _GRAPH_FILE, "CPU", _options(precision))
    request = compiled.create_infer_request()

    def run(inputs: Arrays) -> Arrays:
        request.infer(dict(inputs), share_inputs=True)
        return {name: request.get_tensor(name).data.copy() for name in outputs}

    return run


def read_graph(path: Path, precision: str) -> GraphFile:
    """Read another program's IR or ONNX file; see `Runtime`."""
    model = _read(path)
    return GraphFile(
        inputs={port.any_name: _shape_of(port) for port in model.inputs},
        outputs={_name_of(port): _shape_of(port) for port in model.outputs},
        input_type=model.inputs[0].element_type.to_dtype(),
        compile=partial(_compile, path, precision),
    )


def _compile(path: Path, precision: str, shape: Shape, output: str) -> Run:
    model = _read(path)
    try:
        model.reshape(list(shape))
        compiled = _CORE.compile_model(model, "CPU", _options(precision))
    except RuntimeError as error:
        raise EncoderError(f"{path} cannot take images of shape {shape}: {error}") from error
    request = compiled.create_infer_request()
    number = [_name_of(port) for port in model.outputs].index(output)

    def run(images: NDArray[Any]) -> NDArray[Any]:
        try:
            request.infer([images], share_inputs=True)
        except RuntimeError as error:
            raise EncoderError(f"{path} cannot be executed: {error}") from error
        found: NDArray[Any] = request.get_output_tensor(number).data.copy()
        return found

    return run


def _read(path: Path) -> openvino.Model:
    try:
        return _CORE.read_model(path)
    except RuntimeError as error:
        raise EncoderError(f"{path} cannot be read by OpenVINO: {error}") from error


def _shape_of(port: openvino.Output) -> Shape:
    return tuple(
        length.get_length() if length.is_static else ANY for length in port.get_partial_shape()
    )


def _name_of(port: openvino.Output) -> str:
    """Return an output's name, or that of the layer before it where the file has none."""
    names = sorted(port.get_names())
    return names[0] if names else str(port.get_node().input_value(0).get_node().friendly_name)


def _options(precision: str) -> dict[str, object]:
    return {
        "INFERENCE_PRECISION_HINT": _PRECISIONS[precision],
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
        # Images are decoded on the same cores: threads tied to one would wait for it.
        "ENABLE_CPU_PINNING": False,
    }
