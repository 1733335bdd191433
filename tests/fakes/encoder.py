"""A small, real encoder: every part learns, nothing takes time."""

from collections.abc import Iterator, Mapping
from zlib import crc32

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reid.domain.errors import EncoderError
from reid.domain.values.encoders import EncoderDescription, EncoderGeometry
from reid.domain.values.features import ImageFeatures, PromptEmbedding
from reid.domain.values.samples import ImageSize, Resampling

_VOCABULARY = 32
_CONTEXT = 16


class _ImageTower(nn.Module):
    """Pixels averaged over cells of 4x4, then two layers with batch statistics between."""

    def __init__(self, size: ImageSize, num_cameras: int) -> None:
        super().__init__()
        cells = 3 * (size.height // 4) * (size.width // 4)
        self.cells = nn.Linear(cells, 8)
        self.norm = nn.BatchNorm1d(8)
        self.hidden = nn.Linear(8, 8)
        self.projection = nn.Linear(8, 6, bias=False)
        self.cameras = nn.Parameter(0.1 * torch.randn(num_cameras, 8)) if num_cameras else None

    def forward(self, images: Tensor, camids: Tensor | None) -> ImageFeatures:
        penultimate = self.cells(F.avg_pool2d(images, 4).flatten(1))
        if self.cameras is not None and camids is not None:
            penultimate = penultimate + self.cameras[camids]
        final = self.hidden(self.norm(penultimate).tanh())
        return ImageFeatures(penultimate, final, self.projection(final))


class _TextTower(nn.Module):
    """Tokens with positions, mixed by their mean."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(_VOCABULARY, 8)
        self.positions = nn.Parameter(0.1 * torch.randn(_CONTEXT, 8))
        self.hidden = nn.Linear(8, 8)
        self.projection = nn.Linear(8, 6, bias=False)

    def forward(self, prompts: Tensor) -> Tensor:
        tokens = prompts + self.positions[: prompts.shape[1]]
        projected: Tensor = self.projection(self.hidden(tokens.mean(dim=1)).tanh())
        return projected


class FakeEncoder:
    """Keeps the encoder port's contract with a few hundred parameters."""

    def __init__(
        self,
        *,
        name: str = "fake",
        seed: int = 0,
        num_cameras: int = 0,
        image_size: ImageSize = ImageSize(16, 8),  # noqa: B008 - frozen
        has_text: bool = True,
        resampling: Resampling = Resampling.BILINEAR,
    ) -> None:
        """Draw weights from `seed`; height and width must be multiples of 4."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._image = _ImageTower(image_size, num_cameras).eval()
            self._text = FakeTextEncoder(_TextTower().eval()) if has_text else None
        self._geometry = EncoderGeometry(
            image_size=image_size,
            pixel_mean=(0.5, 0.5, 0.5),
            pixel_std=(0.25, 0.25, 0.25),
            penultimate_width=8,
            final_width=8,
            projected_width=6,
            num_cameras=num_cameras,
            resampling=resampling,
        )
        self._description = EncoderDescription(
            name=name,
            weights=f"random (seed {seed})",
            is_pretrained=False,
            options={
                "image_size": [image_size.height, image_size.width],
                "num_cameras": num_cameras,
            },
        )

    @property
    def geometry(self) -> EncoderGeometry:
        return self._geometry

    @property
    def description(self) -> EncoderDescription:
        return self._description

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def encode_images(self, images: Tensor, camids: Tensor | None = None) -> ImageFeatures:
        known = range(self._geometry.num_cameras)
        if camids is not None and known and not set(camids.tolist()) <= set(known):
            raise EncoderError(f"the fake knows {len(known)} cameras")
        features: ImageFeatures = self._image(images, camids)
        return features

    @property
    def text(self) -> "FakeTextEncoder | None":
        return self._text

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        return self._image.named_parameters()

    def set_training(self, *, enabled: bool) -> None:
        self._image.train(enabled)

    def state(self) -> Mapping[str, Tensor]:
        state: dict[str, Tensor] = self._image.state_dict()
        return state

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        if {name: value.shape for name, value in self.state().items()} != {
            name: value.shape for name, value in state.items()
        }:
            raise EncoderError("the state given does not fit the fake's image tower")
        self._image.load_state_dict(dict(state))


class FakeTextEncoder:
    """Knows 32 words."""

    token_width = 8
    context_length = _CONTEXT

    def __init__(self, tower: _TextTower) -> None:
        self._tower = tower

    def embed_template(self, template: str, *, num_context_tokens: int) -> PromptEmbedding:
        before, after = template.split("{}")
        prefix = [0, *(crc32(word.encode()) % _VOCABULARY for word in before.split())]
        suffix = [*(crc32(word.encode()) % _VOCABULARY for word in after.split()), 1]
        if len(prefix) + num_context_tokens + len(suffix) > _CONTEXT:
            raise EncoderError(f"prompt longer than {_CONTEXT} tokens")
        table = self._tower.embedding.weight.detach()
        return PromptEmbedding(prefix=table[prefix], suffix=table[suffix])

    def encode_prompts(self, prompts: Tensor, *, prefix: Tensor | None = None) -> Tensor:
        if prefix is not None:
            prompts = torch.cat([prefix.expand(len(prompts), -1, -1), prompts], dim=1)
        if prompts.shape[1] > _CONTEXT:
            raise EncoderError(f"prompts longer than {_CONTEXT} tokens")
        features: Tensor = self._tower(prompts)
        return features

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        return self._tower.named_parameters(prefix="text")
