"""Export of image encoders for other runtimes.

Letters: B batch, D width, H W pixels, N cameras.
"""

import copy
import json
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import KW_ONLY, asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.nn import functional as F

from reid.adapters.atomic_files import sync_file, sync_folder
from reid.adapters.encoders.export_contract import (
    NO_CAMERA,
    contract_of,
    input_shapes,
    output_widths,
)
from reid.adapters.encoders.exported import (
    FORMAT,
    HEADER_FILE,
    Arrays,
    ExportedEncoder,
    ExportHeader,
    digest_of_files,
    file_digest,
    is_exported,
    load_runtime,
    open_graph_of,
)
from reid.adapters.encoders.image_tower import ImageTower
from reid.adapters.encoders.tower_encoder import TowerEncoder
from reid.domain.errors import ConfigurationError, EncoderError
from reid.domain.services.image_sample import ImageSample
from reid.domain.values.checkpoints import JsonValue, digest_of
from reid.domain.values.encoders import EncoderGeometry
from reid.ports.image_encoder import ImageEncoder, Keep


@dataclass(frozen=True, slots=True)
class ExportFolder:
    """A folder for one exported encoder: graph, weights and header; see the port."""

    folder: Path
    _: KW_ONLY
    runtime: str  # `openvino` or `onnx`
    precision: str = "fp32"
    overwrite: bool = False  # replace an earlier export
    sample: ImageSample | None = None  # images to quantise on, for int8

    @contextmanager
    def write(self, encoder: ImageEncoder) -> Iterator[tuple[ExportedEncoder, Keep]]:
        """Write an encoder to a temporary folder beside and open it; see the port."""
        if not isinstance(encoder, TowerEncoder):
            raise EncoderError(
                f"{encoder.description.name} cannot be exported: only built-in encoders can"
            )
        self._check_place()
        place = self.folder
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            # In the same place, so that it can be renamed.
            with tempfile.TemporaryDirectory(prefix=f".{place.name}.", dir=place.parent) as aside:
                written = Path(aside) / "new"
                written.mkdir()
                self._write_graph(encoder, written)
                header = ExportHeader(
                    runtime=self.runtime,
                    precision=self.precision,
                    description=encoder.description,
                    geometry=encoder.geometry,
                    tensors=digest_of(encoder.state()),
                    files={path.name: file_digest(path) for path in sorted(written.iterdir())},
                )
                if self.precision == "int8":  # its weights are others
                    header = replace(header, tensors=digest_of_files(header.files))
                yield open_graph_of(header, written), partial(self._keep, written, header)
        except OSError as error:
            raise EncoderError(
                f"{place} cannot be written: {error.strerror or error}; free some space, make the "
                "folder above it writable, or name another one"
            ) from error

    def _check_place(self) -> None:
        if self.runtime == "onnx" and self.precision != "fp32":
            raise ConfigurationError(
                f"an export for onnx computes in fp32, not in {self.precision}: leave the "
                "precision out, or export for openvino"
            )
        if self.precision == "int8" and self.sample is None:
            raise ConfigurationError(
                "int8 is calibrated on images: set export.calibration to a folder or list of some "
                "hundred images of people, or dataset.root to a dataset whose training images serve"
            )
        if not self.folder.exists():
            return
        if not is_exported(self.folder):
            raise EncoderError(f"{self.folder} exists and is no exported encoder: name another")
        if not self.overwrite:
            raise EncoderError(
                f"{self.folder} holds an exported encoder: overwrite it, or name another folder"
            )

    def _write_graph(self, encoder: TowerEncoder, folder: Path) -> None:
        geometry, runtime = encoder.geometry, load_runtime(self.runtime, folder=self.folder)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the converters warn about their own internals
            runtime.write(
                trace(encoder.image_tower, geometry),
                folder,
                input_shapes(geometry),
                list(output_widths(geometry)),
            )
            if self.sample is not None and self.precision == "int8":
                _quantise(folder, self.sample, encoder)

    def _keep(self, written: Path, header: ExportHeader, record: Mapping[str, JsonValue]) -> None:
        """Add the header, flush to the disk, and rename; what it replaces stays if this fails."""
        content = {
            "format": FORMAT,
            "contract": contract_of(header.geometry),
            **asdict(header),
            "comparison": dict(record),
        }
        if self.sample is not None:
            content["calibration"] = self.sample.record()
        (written / HEADER_FILE).write_text(json.dumps(content, indent=2) + "\n")
        for path in written.iterdir():
            sync_file(path)
        sync_folder(written)
        replaced = written.with_name("old")
        if self.folder.exists():
            self.folder.rename(replaced)
        try:
            written.rename(self.folder)
        except BaseException:
            if replaced.exists():
                replaced.rename(self.folder)
            raise
        sync_folder(self.folder.parent)


def _quantise(folder: Path, sample: ImageSample, encoder: TowerEncoder) -> None:
    try:
        from reid.adapters.encoders.openvino_quantisation import quantise
    except ImportError as error:
        raise ConfigurationError(
            f"{error.name} is not installed: pip install 'clip-reid[quantize]'"
        ) from error

    def inputs() -> Iterator[Arrays]:
        for name in sample.quantised_on:
            arrays: dict[str, NDArray[Any]] = {"images": sample.read([name], encoder).numpy()}
            if encoder.geometry.num_cameras:
                arrays["camids"] = np.array([NO_CAMERA])
            yield arrays

    quantise(folder, inputs())


class _Traceable(nn.Module):
    """A tower as a function from tensors to tensors."""

    def __init__(self, tower: ImageTower) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, images: Tensor, camids: Tensor | None = None) -> tuple[Tensor, ...]:
        features = self.tower(images, camids)
        embedding = features.embedding()
        outputs = F.normalize(embedding, dim=1), embedding, features.penultimate
        return outputs if features.penultimate.shape[1] else outputs[:2]


def trace(tower: ImageTower, geometry: EncoderGeometry) -> ExportedProgram:
    """Trace a tower for batches of any size.

    Cameras become an input where the tower has any. A graph has no branches, so an image without a
    camera gets an embedding of zeros: the table's last row, index -1. The tower is in evaluation
    mode, float32, on the CPU.
    """
    copied = copy.deepcopy(tower).requires_grad_(requires_grad=False)
    size = geometry.image_size
    inputs = {"images": torch.zeros(2, 3, size.height, size.width)}
    if copied.cv_embed is not None:
        nowhere = torch.zeros_like(copied.cv_embed[:1])
        copied.cv_embed = nn.Parameter(torch.cat([copied.cv_embed, nowhere]), requires_grad=False)
        inputs["camids"] = torch.zeros(2, dtype=torch.int64)
    batch = Dim("batch", min=1)
    return torch.export.export(
        _Traceable(copied).eval(),
        args=(),
        kwargs=inputs,
        dynamic_shapes={name: {0: batch} for name in inputs},
    )
