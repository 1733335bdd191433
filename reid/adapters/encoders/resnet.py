"""CLIP's modified ResNet with a last stride of 1: 256x128 pixels end in a map of 16x8.

CLIP-ReID, section 4.1.

Letters: B batch, D width, H W pixels, h w grid, P = h * w positions.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reid.adapters.encoders.architecture import (
    IMAGE_PREFIX,
    IMAGENET_STATISTICS,
    Architecture,
    EncoderPlan,
    Measures,
    PixelStatistics,
    TextConfiguration,
    count_children,
    length_of,
)
from reid.adapters.encoders.blocks import Projection, attend_once
from reid.adapters.encoders.image_tower import Grid, Visual
from reid.domain.errors import ConfigurationError
from reid.domain.values.encoders import Pooling
from reid.domain.values.explanations import Cells, MapTrace
from reid.domain.values.features import ImageFeatures
from reid.domain.values.samples import ImageSize

_REDUCTION = 16
"""Pixels along a cell of the maps of layers 3 and 4; CLIP's own last stage halves its map again."""

_EXPANSION = 4
_PRETRAINING_GRID = Grid(7, 7)
_GEM_EXPONENT = 3
"""Initial value in Radenovic et al. 2018, arXiv:1711.02512; usual where it is not learned."""

_GEM_FLOOR = 1e-6
"""Least value of a map: the cube root is infinitely steep at 0, the mean of a dead channel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResNetArchitecture(Architecture):
    """Sizes of a modified ResNet."""

    positions_name = f"{IMAGE_PREFIX}attnpool.positional_embedding"
    has_cameras = False
    poolings = (Pooling.AVERAGE, Pooling.GEM)
    usual_strides = (_REDUCTION,)

    layers: tuple[int, int, int, int]
    pretraining_grid: Grid = _PRETRAINING_GRID
    pixel_statistics: PixelStatistics = IMAGENET_STATISTICS

    @property
    def feature_widths(self) -> tuple[int, int]:
        """Widths of layers 3 and 4."""
        return self.width * 16, self.width * 32

    @staticmethod
    def measure(image: Mapping[str, Tensor]) -> Measures | None:
        """Read sizes off the weights; see `Architecture`."""
        stages = tuple(count_children(image, f"layer{stage}.") for stage in (1, 2, 3, 4))
        if not any(stages):
            return None
        projected = length_of(image, "attnpool.c_proj.weight", 0)
        return stages, length_of(image, "conv3.weight", 0), projected

    def check_stride(self, image_size: ImageSize, stride: int) -> None:
        """Refuse other strides, and images that cells do not divide; see `Architecture`."""
        cell = self.patch_size
        if stride != cell:
            raise ConfigurationError(
                f"encoder.stride: {self.kind} has a stride of {cell} only, not {stride}"
            )
        if image_size.height % cell or image_size.width % cell:
            raise ConfigurationError(
                f"encoder.image_size: {self.kind} needs a height and width that {cell} divides, "
                f"not {image_size}"
            )

    def build_visual(self, plan: EncoderPlan) -> "ModifiedResNet":
        """Build the image half; see `Architecture`."""
        return ModifiedResNet(self, pooling=plan.pooling)


class Bottleneck(nn.Module):
    """A residual block that averages before it strides."""

    def __init__(self, in_width: int, width: int, *, stride: int) -> None:
        """Draw torch's own initial weights."""
        super().__init__()
        out_width = width * _EXPANSION
        self.conv1 = nn.Conv2d(in_width, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.avgpool = _average_pool(stride)
        self.conv3 = nn.Conv2d(width, out_width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_width)
        self.downsample: nn.Sequential | None = None
        if stride > 1 or in_width != out_width:
            parts = {
                "-1": _average_pool(stride),
                "0": nn.Conv2d(in_width, out_width, 1, bias=False),
                "1": nn.BatchNorm2d(out_width),
            }
            self.downsample = nn.Sequential(OrderedDict(parts))

    def forward(self, maps: Tensor) -> Tensor:
        """Run the block on (B, C, h, w)."""
        inner = F.relu(self.bn1(self.conv1(maps)), inplace=True)
        inner = F.relu(self.bn2(self.conv2(inner)), inplace=True)
        added: Tensor = self.bn3(self.conv3(self.avgpool(inner)))
        added += maps if self.downsample is None else self.downsample(maps)
        return F.relu(added, inplace=True)


class AttentionPool(nn.Module):
    """Attention from the mean of a map to all its cells."""

    def __init__(self, num_positions: int, width: int, *, num_heads: int, out_width: int) -> None:
        """Draw torch's own initial weights."""
        super().__init__()
        # Divided, not drawn with that deviation, for the same bits as open_clip.
        positions = torch.empty(num_positions + 1, width).normal_().div_(width**0.5)
        self.positional_embedding = nn.Parameter(positions)
        self.k_proj = nn.Linear(width, width)
        self.q_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.c_proj = nn.Linear(width, out_width)
        self.num_heads = num_heads

    def forward(self, maps: Tensor) -> Tensor:
        """Pool (B, D, h, w) to (B, projected width).

        Differs from CLIP-ReID, which attends from all positions, though only the mean's is read.
        """
        cells = maps.flatten(2).transpose(1, 2)  # (B, P, D)
        tokens = torch.cat([cells.mean(dim=1, keepdim=True), cells], dim=1)  # (B, 1 + P, D)
        tokens = tokens + self.positional_embedding
        attended = attend_once(
            self.q_proj(tokens[:, 0]),
            tokens,
            key=Projection(self.k_proj.weight, self.k_proj.bias),
            value=Projection(self.v_proj.weight, self.v_proj.bias),
            num_heads=self.num_heads,
        )
        pooled: Tensor = self.c_proj(attended)
        return pooled


class ModifiedResNet(Visual):
    """CLIP's ResNet under OpenAI's names, with a last stride of 1; it ignores cameras.

    It is cut to the features of its last two maps.
    """

    suits_channels_last = True

    def __init__(self, architecture: ResNetArchitecture, *, pooling: Pooling) -> None:
        """Draw all weights, in open_clip's order; the maps are pooled by `pooling`."""
        super().__init__()
        self._pool = pool_generalised if pooling is Pooling.GEM else pool_average
        width = architecture.width
        self.conv1 = nn.Conv2d(3, width // 2, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width // 2)
        self.conv2 = nn.Conv2d(width // 2, width // 2, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width // 2)
        self.conv3 = nn.Conv2d(width // 2, width, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        first, second, third, fourth = architecture.layers
        self.layer1 = _stage(width, width, first, stride=1)
        self.layer2 = _stage(width * 4, width * 2, second, stride=2)
        self.layer3 = _stage(width * 8, width * 4, third, stride=2)
        self.layer4 = _stage(width * 16, width * 8, fourth, stride=1)
        self.attnpool = AttentionPool(
            architecture.pretraining_grid.num_positions,
            width * 32,
            num_heads=width * 32 // architecture.head_width,
            out_width=architecture.projected_width,
        )
        pool = self.attnpool
        for layer in (pool.q_proj, pool.k_proj, pool.v_proj, pool.c_proj):
            nn.init.normal_(layer.weight, std=pool.c_proj.in_features**-0.5)
        for module in self.modules():
            if isinstance(module, Bottleneck):
                nn.init.zeros_(module.bn3.weight)

    def stem(self, images: Tensor) -> Tensor:
        """Run the three convolutions before the stages: (B, width, H / 4, W / 4)."""
        maps = F.relu(self.bn1(self.conv1(images)), inplace=True)
        maps = F.relu(self.bn2(self.conv2(maps)), inplace=True)
        maps = F.relu(self.bn3(self.conv3(maps)), inplace=True)
        return F.avg_pool2d(maps, 2)

    def redraw(self) -> None:
        """Draw the convolutions so that signals keep their size.

        He et al. 2015, arXiv:1502.01852, eq. 10. Differs from open_clip, which leaves torch's
        default: there signals fade by a thousand before running statistics are learnt, and the
        pooled token of an untrained network hardly depends on the image.
        """
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, images: Tensor, cameras: Tensor | None) -> ImageFeatures:  # noqa: ARG002
        """Return the pooled maps of layers 3 and 4, and the attention-pooled token."""
        return self._features(*self._maps(images))

    def trace(self, images: Tensor, cameras: Tensor | None) -> MapTrace:  # noqa: ARG002
        """Encode images, the last map a leaf that gradients reach."""
        with torch.no_grad():
            third, fourth = self._maps(images)
        maps = fourth.requires_grad_()
        with torch.enable_grad():
            features = self._features(third, maps)
        rows, columns = maps.shape[2:]
        cells = Cells(rows=rows, columns=columns, stride=_REDUCTION, extent=_REDUCTION)
        return MapTrace(features=features, maps=maps, cells=cells)

    def _maps(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the maps of layers 3 and 4: (B, 16 * width, h, w) and (B, 32 * width, h, w)."""
        third = self.layer3(self.layer2(self.layer1(self.stem(images))))
        return third, self.layer4(third)

    def _features(self, third: Tensor, fourth: Tensor) -> ImageFeatures:
        return ImageFeatures(
            penultimate=self._pool(third.float()),
            final=self._pool(fourth.float()),
            projected=self.attnpool(fourth).float(),
        )


def pool_average(maps: Tensor) -> Tensor:
    """Take the mean of (B, D, h, w) over all positions: (B, D)."""
    return maps.mean(dim=(2, 3))


def pool_generalised(maps: Tensor) -> Tensor:
    """Take the generalised mean with exponent 3 (Radenovic et al. 2018, arXiv:1711.02512, eq. 3).

    Maps are (B, D, h, w) float32, not negative, as a ReLU leaves them; the result is (B, D),
    differentiable, and 1e-6 where a channel is 0 everywhere.
    """
    powers = maps.clamp(min=_GEM_FLOOR).pow(_GEM_EXPONENT)
    return powers.mean(dim=(2, 3)).pow(1 / _GEM_EXPONENT)


def _average_pool(stride: int) -> nn.Module:
    return nn.AvgPool2d(stride) if stride > 1 else nn.Identity()


def _stage(in_width: int, width: int, num_blocks: int, *, stride: int) -> nn.Sequential:
    first = Bottleneck(in_width, width, stride=stride)
    rest = [Bottleneck(width * _EXPANSION, width, stride=1) for _ in range(1, num_blocks)]
    return nn.Sequential(first, *rest)


RN50 = ResNetArchitecture(
    kind="rn50",
    layers=(3, 4, 6, 3),
    width=64,
    projected_width=1024,
    text=TextConfiguration(width=512, layers=12),
    image_size=ImageSize(256, 128),
)
RN_TINY = ResNetArchitecture(
    kind="rn-tiny",
    layers=(1, 1, 1, 1),
    width=16,
    projected_width=64,
    text=TextConfiguration(width=64, layers=2),
    image_size=ImageSize(128, 64),
)
