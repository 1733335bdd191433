"""Golden files, the weights that belong to them, and an encoder that carries those weights."""

import importlib
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save_file
from torch import Tensor

from reid.adapters.encoders.clip import create_clip_encoder
from reid.adapters.encoders.tower_encoder import TowerEncoder
from reid.domain.values.encoders import EncoderRequest
from reid.domain.values.samples import ImageSize

# Not a plain import: the generator is kept byte for byte as it made the files, without types.
goldgen: Any = importlib.import_module("tests.golden.goldgen")

Array = npt.NDArray[Any]

FOLDER = Path(__file__).parent
TINY = ("rn_tiny", "vit_tiny", "vit_tiny@sie_olp")
BIG = ("rn50", "vit_b16", "vit_b16@sie_olp")
KINDS = {"rn_tiny": "rn-tiny", "vit_tiny": "vit-tiny", "rn50": "rn50", "vit_b16": "vit-b16"}


@dataclass(frozen=True)
class GoldenCase:
    """One golden file: the official code's values for a batch of eight images."""

    name: str
    arrays: dict[str, Array]
    meta: dict[str, Any]

    @property
    def arch(self) -> str:
        """Name in goldgen.ARCH."""
        return str(self.meta["arch"])

    @property
    def num_classes(self) -> int:
        return int(self.meta["num_classes"])

    @property
    def num_cameras(self) -> int:
        return int(self.meta["cams"]) if self.meta["sie_camera"] else 0

    @property
    def image_size(self) -> ImageSize:
        height, width = self.meta["size"]
        return ImageSize(height, width)

    @property
    def stride(self) -> int:
        return int(self.meta["stride"])

    @property
    def labels(self) -> Tensor:
        """(8,) int64."""
        return torch.from_numpy(self.arrays["labels"])

    @property
    def camids(self) -> Tensor | None:
        """(8,) int64, None without camera embeddings."""
        return torch.from_numpy(self.arrays["cams"]) if self.num_cameras else None

    def tensor(self, key: str) -> Tensor:
        """Read one of the file's arrays."""
        return torch.from_numpy(self.arrays[key])

    def images(self) -> Tensor:
        """(8, 3, H, W) float32, already normalised."""
        size = self.image_size
        return torch.from_numpy(goldgen.images(self.arch, 8, size.height, size.width))

    def head_state(self) -> dict[str, Tensor]:
        """Classifier, BNNeck, prompts and `cv_embed` under the official names."""
        heads = goldgen.head_state(self.arch, self.num_classes, self.num_cameras)
        return {name: torch.from_numpy(array) for name, array in heads.items()}


def load_golden(name: str) -> GoldenCase:
    """Read a golden file."""
    with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as archive:
        arrays = {key: archive[key] for key in archive.files}
    return GoldenCase(name=name, arrays=arrays, meta=json.loads(str(arrays.pop("meta"))))


@lru_cache(maxsize=1)
def golden_clip_state(arch: str) -> dict[str, Array]:
    """CLIP weights in OpenAI's layout; kept, because big ones take seconds to draw."""
    state: dict[str, Array] = goldgen.clip_state_dict(arch)
    return state


def build_golden_encoder(case: GoldenCase, folder: Path) -> TowerEncoder:
    """Build the case's encoder through a weights file, which is removed again.

    Args:
        case: Whose weights, image size, stride and cameras to take.
        folder: Where to put the file; the big ones take 600 MB.
    """
    path = folder / f"{case.arch}.safetensors"
    tensors = {
        name: torch.from_numpy(value) for name, value in golden_clip_state(case.arch).items()
    }
    save_file(tensors, path)
    encoder = create_clip_encoder(
        EncoderRequest(
            kind=None,
            weights=str(path),
            image_size=case.image_size,
            stride=case.stride,
            num_cameras=case.num_cameras,
            camera_scale=case.meta["sie_coe"] if case.num_cameras else 1.0,
        )
    )
    path.unlink()
    if case.num_cameras:
        state = dict(encoder.state())
        encoder.load_state(state | {"cv_embed": case.head_state()["cv_embed"]})
    return encoder
