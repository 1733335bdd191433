"""Graphs that ONNX Runtime executes; the only importer of onnxruntime."""

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import onnxscript  # noqa: F401  (torch's converter needs it; missed here, its absence is explained)
import torch
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as states
from torch.export import ExportedProgram

from reid.adapters.encoders.exported import Arrays, Graph
from reid.adapters.encoders.graph_files import ANY, GraphFile, Run, Shape
from reid.domain.errors import ConfigurationError, EncoderError

_GRAPH_FILE = "encoder.onnx"
_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}
_ERRORS = (
    states.Fail,
    states.InvalidArgument,
    states.InvalidGraph,
    states.InvalidProtobuf,
    states.NoSuchFile,
    states.NotImplemented,
    states.RuntimeException,
)
logging.getLogger("onnxscript").setLevel(logging.ERROR)  # it reports skipped optimisations


def write(
    program: ExportedProgram,
    folder: Path,
    inputs: Mapping[str, list[int]],
    outputs: Sequence[str],
) -> None:
    """Convert a traced program and write it with its weights in one file; see `Runtime`."""
    torch.onnx.export(
        program,
        f=folder / _GRAPH_FILE,
        input_names=list(inputs),
        output_names=list(outputs),
        external_data=False,
        dynamo=True,
        verbose=False,
    )


def open_graph(folder: Path, precision: str, outputs: Sequence[str]) -> Graph:  # noqa: ARG001  (always fp32)
    """Compile what `write` wrote for as many threads as torch uses; see `Runtime`."""
    session = _open(folder / _GRAPH_FILE)

    def run(inputs: Arrays) -> Arrays:
        return dict(zip(outputs, session.run(list(outputs), dict(inputs)), strict=True))

    return run


def read_graph(path: Path, precision: str) -> GraphFile:
    """Read another program's ONNX file; see `Runtime`."""
    if precision != "fp32":
        raise ConfigurationError(
            f"encoder.precision: ONNX Runtime computes {path.name} in fp32, not in {precision}"
        )
    try:
        session = _open(path)
    except _ERRORS as error:
        raise EncoderError(f"{path} cannot be read by ONNX Runtime: {error}") from error
    inputs = session.get_inputs()
    return GraphFile(
        inputs={port.name: _shape_of(port) for port in inputs},
        outputs={port.name: _shape_of(port) for port in session.get_outputs()},
        input_type=_TYPES.get(inputs[0].type, np.float32),
        compile=partial(_run_of, path, session),
    )


def _run_of(path: Path, session: onnxruntime.InferenceSession, shape: Shape, output: str) -> Run:
    (port,) = session.get_inputs()
    if _shape_of(port)[0] not in (ANY, shape[0]):
        raise EncoderError(f"{path} takes {port.shape[0]} images in each run, not {shape[0]}")

    def run(images: NDArray[Any]) -> NDArray[Any]:
        try:
            (found,) = session.run([output], {port.name: images})
        except _ERRORS as error:
            raise EncoderError(f"{path} cannot be executed: {error}") from error
        return found  # type: ignore[no-any-return]  # ONNX Runtime has no types

    return run


def _open(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; warnings list weights that a graph does not use
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _shape_of(port: onnxruntime.NodeArg) -> Shape:
    return tuple(length if isinstance(length, int) else ANY for length in port.shape)
