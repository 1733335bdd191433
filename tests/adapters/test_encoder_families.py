"""A family of encoders is one module and a line of the table of kinds."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from reid.adapters.encoders.architecture import (
    HALVES,
    Architecture,
    EncoderPlan,
    Measures,
    length_of,
)
from reid.adapters.encoders.clip import create_clip_encoder
from reid.adapters.encoders.image_tower import Grid, Visual, drawn
from reid.adapters.encoders.kinds import KINDS
from reid.adapters.encoders.tower_encoder import TowerEncoder
from reid.adapters.safetensors_file import write_checkpoint
from reid.domain.errors import ConfigurationError
from reid.domain.values.checkpoints import Checkpoint, JsonValue
from reid.domain.values.encoders import EncoderRequest, Pooling
from reid.domain.values.features import ImageFeatures
from reid.domain.values.samples import ImageSize


class Toy(Visual):
    """Means of patches, each weighed by its position."""

    def __init__(self, width: int, num_positions: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 8, stride=8)
        self.places = drawn(1 + num_positions, width, std=1.0)

    def forward(self, images: Tensor, cameras: Tensor | None) -> ImageFeatures:  # noqa: ARG002
        cells = self.conv1(images).flatten(2).transpose(1, 2)  # (B, P, D)
        mean = (cells * self.places[1:]).mean(dim=1)
        return ImageFeatures(penultimate=mean, final=mean, projected=mean)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToyArchitecture(Architecture):
    positions_name = "image_encoder.places"
    has_cameras = False
    usual_strides = (8,)

    @property
    def feature_widths(self) -> tuple[int, int]:
        return self.width, self.width

    @staticmethod
    def measure(image: Mapping[str, Tensor]) -> Measures | None:
        width = length_of(image, "places", 1)
        return (0, width, width) if width else None

    def check_stride(self, image_size: ImageSize, stride: int) -> None:
        if stride != 8 or image_size.height % 8 or image_size.width % 8:
            raise ConfigurationError(f"toy: {image_size}, {stride}")

    def build_visual(self, plan: EncoderPlan) -> Toy:  # noqa: ARG002
        return Toy(self.width, self.pretraining_grid.num_positions)


TOY = ToyArchitecture(
    kind="toy",
    layers=0,
    width=6,
    projected_width=6,
    patch_size=8,
    pretraining_grid=Grid(4, 4),
    text=None,
    image_size=ImageSize(32, 16),
    pixel_statistics=HALVES,
)


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> TowerEncoder:
    monkeypatch.setitem(KINDS, "toy", f"{__name__}:TOY")
    return create_clip_encoder(EncoderRequest(kind="toy"))


def test_a_family_of_its_own_encodes_images_and_needs_no_text_tower(toy: TowerEncoder) -> None:
    features = toy.encode_images(torch.ones(2, 3, 32, 16))
    assert features.embedding().shape == (2, toy.geometry.embedding_width)
    assert toy.text is None
    assert toy.description.options["stride"] == 8


def test_its_weights_are_recognised_in_a_file(toy: TowerEncoder, tmp_path: Path) -> None:
    file = tmp_path / "encoder.safetensors"
    options: dict[str, JsonValue] = {"name": "toy", "options": {**toy.description.options}}
    header: dict[str, JsonValue] = {"format": "reid-encoder", "encoder": options}
    write_checkpoint(file, Checkpoint(tensors=toy.state(), header=header))
    again = create_clip_encoder(EncoderRequest(kind=None, weights=str(file)))
    images = torch.ones(2, 3, 32, 16)
    assert again.description.name == "toy"
    assert torch.equal(
        again.encode_images(images).embedding(), toy.encode_images(images).embedding()
    )


def test_what_it_does_not_offer_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"encoder\.kind: 'toy' is unknown"):
        create_clip_encoder(EncoderRequest(kind="toy"))


@pytest.mark.usefixtures("toy")
def test_neither_cameras_nor_other_poolings_are_taken() -> None:
    with pytest.raises(ConfigurationError, match="toy has no camera embeddings"):
        create_clip_encoder(EncoderRequest(kind="toy", num_cameras=2))
    with pytest.raises(ConfigurationError, match=r"encoder\.pooling: toy"):
        create_clip_encoder(EncoderRequest(kind="toy", pooling=Pooling.GEM))
