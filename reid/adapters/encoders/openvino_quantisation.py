"""Post-training quantisation of OpenVINO graphs to int8; the only importer of nncf."""

import io
import logging
from collections.abc import Iterable
from contextlib import redirect_stdout
from pathlib import Path

# Before nncf: it reports its use over the network by a package that this module marks as absent.
from reid.adapters.encoders import openvino_graphs
from reid.adapters.encoders.exported import Arrays

logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # it looks for CUDA
import nncf  # noqa: E402  # isort: skip

_NEW = "quantised"
_ATTENTION = {"ScaledDotProductAttention", "Softmax"}  # types of operations


def quantise(folder: Path, inputs: Iterable[Arrays]) -> None:
    """Replace the graph that `openvino_graphs.write` wrote by one in int8.

    Weights and activations of convolutions and products become int8, by their ranges on the
    `inputs`; activations asymmetrically where they are (NNCF's mixed preset). Outliers of
    transformers, which would cost them most of int8's steps, move into the weights before.

    Raises:
        OSError: The folder cannot be written.
    """
    nncf.set_log_level(logging.ERROR)
    samples = [dict(arrays) for arrays in inputs]
    model = openvino_graphs.read_written(folder)
    is_transformer = not _ATTENTION.isdisjoint(openvino_graphs.operation_types(model))
    with redirect_stdout(io.StringIO()):  # it draws progress bars
        quantised = nncf.quantize(
            model,
            nncf.Dataset(samples),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(samples),
            model_type=nncf.ModelType.TRANSFORMER if is_transformer else None,
        )
    openvino_graphs.save(quantised, folder, name=_NEW)
    for path in sorted(folder.glob(f"{_NEW}.*")):
        # The old weights stay mapped in memory until the model is gone.
        path.replace(path.with_stem(openvino_graphs.GRAPH_NAME))
