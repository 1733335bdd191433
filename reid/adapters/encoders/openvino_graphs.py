"""Graphs that OpenVINO executes; the only importer of openvino."""

import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from torch.export import ExportedProgram

from reid.adapters.encoders.exported import OUTPUTS, Arrays, Graph

# Unless it is missing, OpenVINO's Python package reports every import over the network.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # how Python marks a module as absent

import openvino  # noqa: E402

_GRAPH_FILE = "encoder.xml"
_CORE = openvino.Core()
"""One for the whole process. Each loads a plug-in that gives the main thread a stack for signals.
If several are unloaded in another order than they were loaded, a freed stack stays in use, and the
next signal, such as Ctrl-C, crashes the process (OpenVINO 2026.4)."""

_PRECISIONS = {"fp32": openvino.Type.f32, "bf16": openvino.Type.bf16}


def write(program: ExportedProgram, folder: Path, inputs: Mapping[str, list[int]]) -> None:
    """Convert a traced program and write it with weights in float32; see `Runtime`."""
    model = openvino.convert_model(program)
    for ports, names in ((model.outputs, OUTPUTS), (model.inputs, inputs)):
        for port, name in zip(ports, names, strict=True):
            port.get_tensor().set_names({name})
    # The conversion loses the shapes; with all but B known, OpenVINO picks its kernels in advance.
    model.reshape(dict(inputs))
    try:
        openvino.save_model(model, folder / _GRAPH_FILE, compress_to_fp16=False)
    except RuntimeError as error:
        # OpenVINO reports a full disk as a failed stream.
        raise OSError(f"OpenVINO could not write its files ({error})") from error


def open_graph(folder: Path, precision: str) -> Graph:
    """Compile what `write` wrote for as many threads as torch uses; see `Runtime`.

    A processor without bfloat16 ignores `bf16`.
    """
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
    request = compiled.create_infer_request()

    def run(inputs: Arrays) -> Arrays:
        request.infer(dict(inputs), share_inputs=True)
        return {name: request.get_tensor(name).data.copy() for name in OUTPUTS}

    return run
