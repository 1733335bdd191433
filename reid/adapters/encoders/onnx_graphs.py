"""Graphs that ONNX Runtime executes; the only importer of onnxruntime.

Letters: B batch.
"""

import logging
from pathlib import Path

import numpy as np
import onnxruntime
import onnxscript  # noqa: F401  (torch's converter needs it; missed here, its absence is explained)
import torch
from numpy.typing import NDArray
from torch.export import ExportedProgram

from reid.adapters.encoders.exported import OUTPUTS, graph_inputs

_GRAPH_FILE = "encoder.onnx"
logging.getLogger("onnxscript").setLevel(logging.ERROR)  # it reports skipped optimisations


def write_onnx(
    program: ExportedProgram, folder: Path, *, inputs: list[str], outputs: list[str]
) -> None:
    """Convert a traced program and write it with its weights in one file.

    Inputs and outputs are named in the program's order.
    """
    torch.onnx.export(
        program,
        f=folder / _GRAPH_FILE,
        input_names=inputs,
        output_names=outputs,
        external_data=False,
        dynamo=True,
        verbose=False,
    )


class OnnxGraph:
    """A graph compiled for as many threads as torch uses; see `Graph`."""

    def __init__(self, folder: Path) -> None:
        """Compile what `write_onnx` wrote."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        self._session = onnxruntime.InferenceSession(
            folder / _GRAPH_FILE, options, providers=["CPUExecutionProvider"]
        )

    def run(
        self, images: NDArray[np.float32], camids: NDArray[np.int64] | None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Execute; see `Graph`."""
        embedding, penultimate = self._session.run(list(OUTPUTS), graph_inputs(images, camids))
        return embedding, penultimate
