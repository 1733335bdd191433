"""An image tower alone in one safetensors file, to be shared: no heads, no text tower."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass
from pathlib import Path

import torch
from torch import Tensor

from reid.adapters.encoders.tower_encoder import TowerEncoder
from reid.adapters.safetensors_file import write_checkpoint
from reid.domain.errors import CheckpointError, EncoderError
from reid.domain.values.checkpoints import (
    CHECKPOINT_VERSION,
    ENCODER_FORMAT,
    Checkpoint,
    JsonValue,
)
from reid.domain.values.encoders import EncoderDescription
from reid.ports.image_encoder import ImageEncoder, Keep

_DTYPES = {"fp16": torch.float16, "fp32": torch.float32}


@dataclass(frozen=True, slots=True)
class ExportFile:
    """A file for one image tower's weights; see `ExportPlace`."""

    path: Path
    _: KW_ONLY
    precision: str = "fp16"  # of the weights in the file; they compute in float32
    overwrite: bool = False  # replace an earlier file
    open_encoder: Callable[[Path], ImageEncoder]

    @contextmanager
    def write(self, encoder: ImageEncoder) -> Iterator[tuple[ImageEncoder, Keep]]:
        """Write the tower beside its place, and open it from there; see the port."""
        if not isinstance(encoder, TowerEncoder):
            raise EncoderError(
                f"{encoder.description.name} cannot be exported: only built-in encoders can"
            )
        if self.path.exists() and not (self.overwrite and self.path.is_file()):
            raise EncoderError(
                f"{self.path} exists: name another file, or overwrite it (a folder never is)"
            )
        dtype = _DTYPES[self.precision]
        tensors = {name: _stored(value, dtype) for name, value in encoder.state().items()}
        header = _header_of(encoder.description)

        def keep(record: Mapping[str, JsonValue]) -> None:
            whole = Checkpoint(tensors=tensors, header={**header, "comparison": dict(record)})
            self._write(self.path, whole)

        with tempfile.TemporaryDirectory(prefix="reid-export-") as aside:
            written = Path(aside) / self.path.name
            self._write(written, Checkpoint(tensors=tensors, header=header))
            yield self.open_encoder(written), keep

    @staticmethod
    def _write(path: Path, checkpoint: Checkpoint) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_checkpoint(path, checkpoint)
        except (OSError, CheckpointError) as error:
            raise EncoderError(f"{path} cannot be written: {error}") from error


def _stored(value: Tensor, dtype: torch.dtype) -> Tensor:
    return value.to(dtype) if value.is_floating_point() else value


def _header_of(description: EncoderDescription) -> dict[str, JsonValue]:
    # A run's file is called by its name and, in brackets, what it was trained from: the former
    # means nothing elsewhere.
    _, _, origin = description.weights.partition(" (trained from ")
    return {
        "format": ENCODER_FORMAT,
        "version": CHECKPOINT_VERSION,
        "encoder": {
            "name": description.name,
            "weights": origin.removesuffix(")") or description.weights,
            "is_pretrained": description.is_pretrained,
            "options": dict(description.options),
        },
    }
