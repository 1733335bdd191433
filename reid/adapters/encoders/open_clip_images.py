"""Image towers that open_clip built, behind the interface of image towers.

Letters: B batch, C channels, D width, H heads, L tokens, P positions, d = D / H.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reid.adapters.encoders.image_tower import Grid, Visual, resize_positions
from reid.domain.errors import ConfigurationError, EncoderError
from reid.domain.values.explanations import AttentionTrace, Cells, ImageTrace, MapTrace
from reid.domain.values.features import ImageFeatures
from reid.domain.values.samples import ImageSize

_NO_OVERLAP = "its patches cannot overlap: leave encoder.stride out"


class OpenClipVisual(Visual):
    """A tower of open_clip; `model` is open_clip's, except for what projects its features."""

    patch_size: int
    """Pixels along one position where a stride may be shorter, and otherwise 1."""

    def __init__(self, model: nn.Module) -> None:
        """Take open_clip's module, which is changed."""
        super().__init__()
        self.model: Any = model  # attributes of open_clip, which nn.Module does not declare

    @abstractmethod
    def fit(self, size: ImageSize, stride: int | None) -> None:
        """Stretch positions over the grid of other images; the tower is in evaluation mode.

        Raises:
            ConfigurationError: The architecture does not allow this size or stride.
        """

    def trace(self, images: Tensor, cameras: Tensor | None) -> ImageTrace:  # noqa: ARG002
        """Refuse; towers that can be explained override this."""
        raise EncoderError(
            f"{type(self.model).__name__} of open_clip shows neither attention nor a map: explain "
            "by a ViT, a ResNet or a ConvNeXt"
        )


class TransformerVisual(OpenClipVisual):
    """open_clip's own ViT: pooled tokens as the final feature, and their projection."""

    def __init__(self, model: nn.Module) -> None:
        """Take the projection out of the model, which then returns pooled tokens."""
        super().__init__(model)
        self.proj = nn.Parameter(self.model.proj.detach())  # (D, joint width)
        self.model.proj = None
        self.model.output_tokens = False
        self.patch_size = self.model.conv1.kernel_size[0]

    def fit(self, size: ImageSize, stride: int | None) -> None:
        """Stretch positions, and let patches overlap; see the base class."""
        stride = _stride_within(stride, self.patch_size)
        grid = _grid(size, patch_size=self.patch_size, stride=stride)
        positions = resize_positions(
            self.model.positional_embedding.detach(),
            source=Grid(*self.model.grid_size),
            target=grid,
        )
        self.model.positional_embedding = nn.Parameter(positions)
        self.model.grid_size, self.model.conv1.stride = tuple(grid), (stride, stride)

    def forward(self, images: Tensor, cameras: Tensor | None) -> ImageFeatures:  # noqa: ARG002
        """Return pooled tokens and their projection."""
        return self._features(self.model(images))

    def trace(self, images: Tensor, cameras: Tensor | None) -> ImageTrace:
        """Encode images, and return the attention of every block.

        Raises:
            EncoderError: The features do not come from the class token of plain blocks.
        """
        model = self.model
        if model.attn_pool is not None or model.pool_type != "tok" or model.final_ln_after_pool:
            return super().trace(images, cameras)
        attention = []
        with torch.no_grad():
            tokens = model.conv1(images).flatten(2).transpose(1, 2)  # (B, P, D)
            token = model.class_embedding.expand(len(images), 1, -1)
            tokens = model.ln_pre(torch.cat([token, tokens], dim=1) + model.positional_embedding)
        with torch.enable_grad():
            # A leaf, so that gradients also flow where the weights are frozen.
            tokens = tokens.requires_grad_()
            for block in model.transformer.resblocks:
                attended, shares = _attend(block.attn, block.ln_1(tokens))
                tokens = tokens + block.ls_1(attended)
                tokens = tokens + block.ls_2(block.mlp(block.ln_2(tokens)))
                attention.append(shares)
            features = self._features(model.ln_post(tokens)[:, 0])
        rows, columns = model.grid_size
        cells = Cells(
            rows=rows, columns=columns, stride=model.conv1.stride[0], extent=self.patch_size
        )
        return AttentionTrace(features=features, attention=tuple(attention), cells=cells)

    def _features(self, pooled: Tensor) -> ImageFeatures:
        return _levels(pooled, pooled @ self.proj)


class ResNetVisual(OpenClipVisual):
    """open_clip's own ResNet: mean and attention pool of its last map."""

    suits_channels_last = True
    patch_size = 32

    def __init__(self, model: nn.Module) -> None:
        """Take the attention pool out of the model, which then returns its last map."""
        super().__init__(model)
        self.pool = self.model.attnpool
        self.model.attnpool = nn.Identity()
        side = self.model.image_size // self.patch_size
        self.grid = Grid(side, side)

    def redraw(self) -> None:
        """Draw the convolutions so that signals keep their size, which open_clip does not.

        He et al. 2015, arXiv:1502.01852, eq. 10.
        """
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def fit(self, size: ImageSize, stride: int | None) -> None:
        """Stretch the pool's positions; see the base class."""
        if stride is not None:
            raise ConfigurationError(
                f"encoder.stride: a ResNet of open_clip has none: {_NO_OVERLAP}"
            )
        with torch.no_grad():
            maps = self.model(
                self.pool.positional_embedding.new_zeros(1, 3, size.height, size.width)
            )
        source, self.grid = self.grid, Grid(*maps.shape[2:])
        positions = self.pool.positional_embedding.detach()
        self.pool.positional_embedding = nn.Parameter(
            resize_positions(positions, source=source, target=self.grid)
        )

    def forward(self, images: Tensor, cameras: Tensor | None) -> ImageFeatures:  # noqa: ARG002
        """Return the map's mean, and what the attention pool makes of it."""
        return self._features(self.model(images))

    def trace(self, images: Tensor, cameras: Tensor | None) -> MapTrace:  # noqa: ARG002
        """Encode images, the last map a leaf that gradients reach."""
        with torch.no_grad():
            maps = self.model(images)
        return _trace(maps, images, self._features)

    def _features(self, maps: Tensor) -> ImageFeatures:
        return _levels(maps.mean(dim=(2, 3)), self.pool(maps))


class TrunkVisual(OpenClipVisual):
    """A model of timm within open_clip: its pooled features, and their projection.

    Where the pooled features are the projected ones, as SigLIP's, both levels hold them.
    """

    def __init__(self, model: nn.Module) -> None:
        """Take open_clip's module as it is."""
        super().__init__(model)
        self.patch_size = self.model.trunk.patch_embed.patch_size[0] if self._is_plain() else 1

    def _is_plain(self) -> bool:
        """Whether the trunk is a ViT whose only positions are added to its patches."""
        trunk = self.model.trunk
        projection = getattr(getattr(trunk, "patch_embed", None), "proj", None)
        return (
            type(trunk).__name__ == "VisionTransformer"
            and isinstance(projection, nn.Conv2d)
            and projection.kernel_size == trunk.patch_embed.patch_size
            and trunk.pos_embed is not None
            and getattr(trunk, "rope", None) is None
        )

    def fit(self, size: ImageSize, stride: int | None) -> None:
        """Stretch positions, and let patches overlap where nothing else depends on them."""
        trunk = self.model.trunk
        if self._is_plain():
            self._fit_plain(size, _stride_within(stride, self.patch_size))
        elif stride is not None:
            kind = type(trunk).__name__
            raise ConfigurationError(f"encoder.stride: a {kind} of open_clip: {_NO_OVERLAP}")
        elif hasattr(trunk, "set_input_size"):
            self.model.set_input_size((size.height, size.width))

    def _fit_plain(self, size: ImageSize, stride: int) -> None:
        trunk, patches = self.model.trunk, self.model.trunk.patch_embed
        grid = _grid(size, patch_size=self.patch_size, stride=stride)
        positions = resize_positions(
            trunk.pos_embed.detach()[0],
            source=Grid(*patches.grid_size),
            target=grid,
            num_tokens=0 if trunk.no_embed_class else trunk.num_prefix_tokens,
        )
        trunk.pos_embed = nn.Parameter(positions[None])
        trunk.dynamic_img_size, patches.flatten = False, True  # else stretched again in each run
        patches.proj.stride = (stride, stride)
        patches.img_size, patches.grid_size = (size.height, size.width), tuple(grid)
        patches.num_patches = grid.num_positions

    def forward(self, images: Tensor, cameras: Tensor | None) -> ImageFeatures:  # noqa: ARG002
        """Return pooled features and their projection."""
        return self._features(self.model.trunk.forward_features(images))

    def _features(self, tokens: Tensor) -> ImageFeatures:
        trunk = self.model.trunk
        pooled = trunk.forward_head(tokens, pre_logits=True)
        return _levels(pooled, self.model.head(trunk.get_classifier()(pooled)))


class ConvolutionalVisual(TrunkVisual):
    """A convolutional network of timm within open_clip."""

    is_faster_channels_last = True

    def trace(self, images: Tensor, cameras: Tensor | None) -> ImageTrace:  # noqa: ARG002
        """Encode images, the last map a leaf that gradients reach."""
        with torch.no_grad():
            maps = self.model.trunk.forward_features(images)
        return _trace(maps, images, self._features)


def wrap(model: nn.Module) -> OpenClipVisual:
    """Wrap an image tower of open_clip by what it is."""
    if hasattr(model, "attnpool"):
        return ResNetVisual(model)
    if not hasattr(model, "trunk"):
        return TransformerVisual(model)
    # Networks of timm that end in a map of channels have stages, its transformers have not.
    return ConvolutionalVisual(model) if hasattr(model.trunk, "stages") else TrunkVisual(model)


def _stride_within(stride: int | None, patch_size: int) -> int:
    if stride is not None and not 1 <= stride <= patch_size:
        raise ConfigurationError(f"encoder.stride: stride {stride} is outside 1..{patch_size}")
    return stride or patch_size


def _grid(size: ImageSize, *, patch_size: int, stride: int) -> Grid:
    if min(size.height, size.width) < patch_size:
        raise ConfigurationError(
            f"encoder.image_size: {size} is smaller than a patch; use {patch_size}x{patch_size} "
            "or more"
        )
    return Grid((size.height - patch_size) // stride + 1, (size.width - patch_size) // stride + 1)


def _levels(pooled: Tensor, projected: Tensor) -> ImageFeatures:
    absent = pooled[:, :0].float()
    return ImageFeatures(penultimate=absent, final=pooled.float(), projected=projected.float())


def _trace(maps: Tensor, images: Tensor, features: Callable[[Tensor], ImageFeatures]) -> MapTrace:
    maps = maps.requires_grad_()
    with torch.enable_grad():
        found = features(maps)
    rows, columns = maps.shape[2:]
    stride = images.shape[2] // rows
    cells = Cells(rows=rows, columns=columns, stride=stride, extent=stride)
    return MapTrace(features=found, maps=maps, cells=cells)


def _attend(attention: Any, tokens: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ANN401
    """Run `nn.MultiheadAttention` in steps: (B, L, D) outputs and their (B, H, L, L) shares."""
    joint = F.linear(tokens, attention.in_proj_weight, attention.in_proj_bias)
    batch, length, _ = tokens.shape
    queries, keys, values = (
        part.view(batch, length, attention.num_heads, -1).transpose(1, 2)  # (B, H, L, d)
        for part in torch.chunk(joint, 3, dim=2)
    )
    shares = (queries @ keys.transpose(2, 3) * queries.shape[3] ** -0.5).softmax(dim=3)
    attended = (shares @ values).transpose(1, 2).flatten(2)
    return attention.out_proj(attended), shares
