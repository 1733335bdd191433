"""Graphs that OpenVINO executes; the only importer of openvino.

Letters: B batch, H W pixels.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.export import ExportedProgram

from reid.adapters.encoders.exported import OUTPUTS, graph_inputs

# Unless it is missing, OpenVINO's Python package reports every import over the network.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # how Python marks a module as absent

import openvino  # noqa: E402

_GRAPH_FILE = "encoder.xml"
_CORE = openvino.Core()
"""One for the whole process. Each loads a plug-in that gives the main thread a stack for signals.
If several are unloaded in another order than they were loaded, a freed stack stays in use, and the
next signal, such as Ctrl-C, crashes the process (OpenVINO 2026.4)."""

_PRECISIONS = {"fp32": openvino.Type.f32, "bf16": openvino.Type.bf16}


def write_openvino(
    program: ExportedProgram, folder: Path, *, inputs: dict[str, list[int]], outputs: list[str]
) -> None:
    """Convert a traced program and write it with weights in float32.

    Args:
        program: Traced by torch.
        folder: The folder to write to.
        inputs: Shapes by name, in the program's order; -1 for B.
        outputs: Names, in the program's order.

    Raises:
        OSError: The folder cannot be written.
    """
    model = openvino.convert_model(program)
    for port, name in zip(model.outputs, outputs, strict=True):
        port.get_tensor().set_names({name})
    for port, name in zip(model.inputs, inputs, strict=True):
        port.get_tensor().set_names({name})
    # The conversion loses the shapes; with all but B known, OpenVINO picks its kernels in advance.
    model.reshape(inputs)
    try:
        openvino.save_model(model, folder / _GRAPH_FILE, compress_to_fp16=False)
    except RuntimeError as error:
        # OpenVINO reports a full disk as a failed stream.
        raise OSError(f"OpenVINO could not write its files ({error})") from error


class OpenVinoGraph:
    """A graph compiled for as many threads as torch uses; see `Graph`."""

    def __init__(self, folder: Path, *, precision: str) -> None:
        """Compile what `write_openvino` wrote; a processor without bfloat16 ignores `bf16`."""
        compiled = _CORE.compile_model(
            folder / _GRAPH_FILE,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": _PRECISIONS[precision],
                "INFERENCE_NUM_THREADS": torch.get_num_threads(),
                "PERFORMANCE_HINT": "LATENCY",
                # Images are decoded on the same cores: threads tied to one would wait for it.
                "ENABLE_CPU_PINNING": False,
            },
        )
        self._request = compiled.create_infer_request()

    def run(
        self, images: NDArray[np.float32], camids: NDArray[np.int64] | None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Execute; see `Graph`."""
        self._request.infer(graph_inputs(images, camids), share_inputs=True)
        embedding, penultimate = (self._request.get_tensor(name).data.copy() for name in OUTPUTS)
        return embedding, penultimate
