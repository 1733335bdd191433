"""Export of image encoders for other runtimes.

Letters: B batch, D width, H W pixels, N cameras.
"""

import copy
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from reid.adapters.atomic_files import sync_file, sync_folder
from reid.adapters.encoders.clip import ClipEncoder
from reid.adapters.encoders.exported import (
    HEADER_FILE,
    OUTPUTS,
    ExportedEncoder,
    ExportHeader,
    explained_absence,
    file_digest,
    is_exported,
    open_graph_of,
)
from reid.adapters.encoders.image_tower import ImageTower
from reid.domain.errors import ConfigurationError, EncoderError
from reid.domain.values.checkpoints import JsonValue, digest_of
from reid.domain.values.encoders import EncoderGeometry
from reid.ports.image_encoder import ImageEncoder


class ExportFolder:
    """A folder for one exported encoder: graph, weights and header; see the port."""

    def __init__(
        self, folder: Path, *, runtime: str, precision: str = "fp32", overwrite: bool = False
    ) -> None:
        """Keep the folder's name; nothing is written yet.

        Args:
            folder: The folder to make.
            runtime: `openvino` or `onnx`.
            precision: `fp32` or `bf16`.
            overwrite: Replace an earlier export.
        """
        self._folder = folder
        self._runtime = runtime
        self._precision = precision
        self._overwrite = overwrite
        self._aside: Path | None = None
        self._header: ExportHeader | None = None

    @property
    def precision(self) -> str:
        """What the runtime computes in."""
        return self._precision

    def write(self, encoder: ImageEncoder) -> ExportedEncoder:
        """Write an encoder to a temporary folder and open it; see the port."""
        if not isinstance(encoder, ClipEncoder):
            raise EncoderError(
                f"{encoder.description.name} cannot be exported: only built-in encoders can"
            )
        self._check_place()
        self._aside = self._make_folder()
        try:
            _write_graph(encoder, self._aside, runtime=self._runtime)
        except OSError as error:
            raise self._unwritable(error) from error
        self._header = ExportHeader(
            runtime=self._runtime,
            precision=self._precision,
            description=encoder.description,
            geometry=encoder.geometry,
            tensors=digest_of(encoder.state()),
            files={path.name: file_digest(path) for path in sorted(self._aside.iterdir())},
        )
        return open_graph_of(self._header, self._aside)

    def keep(self, record: Mapping[str, JsonValue]) -> None:
        """Add the header and move what was written into place; see the port."""
        if self._aside is None or self._header is None:
            raise ValueError("nothing was written that could be kept")
        content = self._header.as_json() | {"comparison": dict(record)}
        try:
            (self._aside / HEADER_FILE).write_text(json.dumps(content, indent=2) + "\n")
            _flush(self._aside)
            self._put_in_place(self._aside)
        except OSError as error:
            raise self._unwritable(error) from error
        self._aside = None

    def discard(self) -> None:
        """Delete the temporary folder."""
        if self._aside is not None:
            shutil.rmtree(self._aside, ignore_errors=True)
            self._aside = None

    def _check_place(self) -> None:
        if self._runtime == "onnx" and self._precision != "fp32":
            raise ConfigurationError(
                f"ONNX Runtime computes in fp32 on a CPU, not in {self._precision}: leave the "
                "precision out, or export for openvino"
            )
        if not self._folder.exists():
            return
        if not is_exported(self._folder):
            raise EncoderError(f"{self._folder} exists and is no exported encoder: name another")
        if not self._overwrite:
            raise EncoderError(
                f"{self._folder} holds an exported encoder: overwrite it, or name another folder"
            )

    def _make_folder(self) -> Path:
        """Make a temporary folder in the same place, so that it can be renamed."""
        try:
            self._folder.parent.mkdir(parents=True, exist_ok=True)
            aside = tempfile.mkdtemp(prefix=f".{self._folder.name}.", dir=self._folder.parent)
        except OSError as error:
            raise self._unwritable(error) from error
        # `mkdtemp` ignores the user's own mode.
        umask = os.umask(0)
        os.umask(umask)
        Path(aside).chmod(0o777 & ~umask)
        return Path(aside)

    def _put_in_place(self, aside: Path) -> None:
        """Rename a folder; delete the one that it replaces afterwards."""
        if not self._folder.exists():
            aside.rename(self._folder)
        else:
            with tempfile.TemporaryDirectory(
                prefix=f".{self._folder.name}.", dir=self._folder.parent
            ) as spare:
                old = Path(spare) / self._folder.name
                self._folder.rename(old)
                try:
                    aside.rename(self._folder)
                except BaseException:
                    old.rename(self._folder)
                    raise
        sync_folder(self._folder.parent)

    def _unwritable(self, error: OSError) -> EncoderError:
        return EncoderError(
            f"{self._folder} cannot be written: {error.strerror or error}; free some space, make "
            "the folder above it writable, or name another one"
        )


def _flush(folder: Path) -> None:
    """Flush a folder and its files to the disk."""
    for path in folder.iterdir():
        sync_file(path)
    sync_folder(folder)


class _Traceable(nn.Module):
    """A tower as a function from tensors to tensors."""

    def __init__(self, tower: ImageTower) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, images: Tensor, camids: Tensor | None = None) -> tuple[Tensor, Tensor]:
        features = self.tower(images, camids)
        return features.embedding(), features.penultimate


def trace(tower: ImageTower, geometry: EncoderGeometry) -> ExportedProgram:
    """Trace a tower for batches of any size.

    Cameras become an input where the tower has any. A graph has no branches, so an image without a
    camera gets an embedding of zeros: the table's last row, index -1.

    Args:
        tower: In evaluation mode, float32, on the CPU.
        geometry: Size of the images and number of cameras.
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


def _write_graph(encoder: ClipEncoder, folder: Path, *, runtime: str) -> None:
    geometry = encoder.geometry
    size = geometry.image_size
    inputs = {"images": [-1, 3, size.height, size.width]}
    if geometry.num_cameras:
        inputs["camids"] = [-1]
    with explained_absence(runtime), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the converters warn about their own internals
        if runtime == "onnx":
            from reid.adapters.encoders.onnx_graphs import write_onnx

            program = trace(encoder.image_tower, geometry)
            write_onnx(program, folder, inputs=list(inputs), outputs=list(OUTPUTS))
        else:
            from reid.adapters.encoders.openvino_graphs import write_openvino

            program = trace(encoder.image_tower, geometry)
            write_openvino(program, folder, inputs=inputs, outputs=list(OUTPUTS))
