"""Graphs that ONNX Runtime executes; the only importer of onnxruntime."""

import logging
from collections.abc import Mapping
from pathlib import Path

import onnxruntime
import onnxscript  # noqa: F401  (torch's converter needs it; missed here, its absence is explained)
import torch
from torch.export import ExportedProgram

from reid.adapters.encoders.exported import OUTPUTS, Arrays, Graph

_GRAPH_FILE = "encoder.onnx"
logging.getLogger("onnxscript").setLevel(logging.ERROR)  # it reports skipped optimisations


def write(program: ExportedProgram, folder: Path, inputs: Mapping[str, list[int]]) -> None:
    """Convert a traced program and write it with its weights in one file; see `Runtime`."""
    torch.onnx.export(
        program,
        f=folder / _GRAPH_FILE,
        input_names=list(inputs),
        output_names=list(OUTPUTS),
        external_data=False,
        dynamo=True,
        verbose=False,
    )


def open_graph(folder: Path, precision: str) -> Graph:  # noqa: ARG001  (always fp32)
    """Compile what `write` wrote for as many threads as torch uses; see `Runtime`."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(
        folder / _GRAPH_FILE, options, providers=["CPUExecutionProvider"]
    )

    def run(inputs: Arrays) -> Arrays:
        return dict(zip(OUTPUTS, session.run(list(OUTPUTS), dict(inputs)), strict=True))

    return run
