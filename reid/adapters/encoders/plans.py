"""What to build: a request reconciled with what a weights file says of itself."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from reid.adapters.encoders.architectures import ARCHITECTURES, PATCH_SIZE, Architecture, Grid
from reid.adapters.encoders.weights import CAMERA_NAME, IMAGE_PREFIX, WeightsFile
from reid.domain.errors import ConfigurationError, EncoderError
from reid.domain.values.checkpoints import JsonValue
from reid.domain.values.counts import counted
from reid.domain.values.encoders import Activation, EncoderRequest, Pooling
from reid.domain.values.samples import ImageSize

_KNOWN_SIZES = tuple(
    ImageSize(height, width)
    for height, width in ((256, 128), (384, 128), (384, 192), (256, 256), (128, 64), (224, 224))
)
_KNOWN_STRIDES = (16, 12)


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderPlan:
    """All that decides an encoder's shape."""

    architecture: Architecture
    image_size: ImageSize
    stride: int
    num_cameras: int
    camera_scale: float
    activation: Activation
    pooling: Pooling
    source_grid: Grid
    """Grid of the position embeddings that the weights bring."""

    @property
    def grid(self) -> Grid:
        """Grid of the pictures to come."""
        return Grid.of(self.image_size, stride=self.stride)

    def options(self) -> dict[str, JsonValue]:
        """What `description.options` keeps, so that the same encoder can be built again."""
        options: dict[str, JsonValue] = {
            "image_size": [self.image_size.height, self.image_size.width],
            "stride": self.stride,
            "num_cameras": self.num_cameras,
            "camera_scale": self.camera_scale,
            "activation": self.activation.value,
        }
        # Left out where it is what it always was: the files of such encoders stay the same bytes.
        if self.pooling is not Pooling.AVERAGE:
            options["pooling"] = self.pooling.value
        return options


@dataclass(frozen=True, slots=True)
class _Sampling:
    """How pictures become a grid."""

    image_size: ImageSize
    stride: int

    @property
    def grid(self) -> Grid:
        return Grid.of(self.image_size, stride=self.stride)


def architecture_named(kind: str | None) -> Architecture:
    """Look up a kind from settings.

    Raises:
        ConfigurationError: There is none of that name, or no name and no file that says it.
    """
    known = ", ".join(ARCHITECTURES)
    if kind is None:
        raise ConfigurationError(f"no encoder named: choose one of {known}")
    if kind not in ARCHITECTURES:
        raise ConfigurationError(f"encoder {kind!r} is unknown: choose one of {known}")
    return ARCHITECTURES[kind]


def plan_encoder(request: EncoderRequest, weights: WeightsFile | None) -> EncoderPlan:
    """Decide what to build.

    A size or stride in the request wins over the file's, and the positions are resized then: the
    features stay meaningful, if not those that the file was trained for. The weight of camera
    embeddings, the activation and the pooling are the file's where it says them.

    Raises:
        ConfigurationError: The request makes no sense by itself.
        EncoderError: The request contradicts the file, or the file does not say enough.
    """
    if weights is None:
        architecture = architecture_named(request.kind)
        trained, source_grid = None, architecture.pretraining_grid
    else:
        architecture = _architecture_of(request, weights)
        trained = _sampling_of(request, weights, architecture)
        source_grid = architecture.pretraining_grid if trained is None else trained.grid
    stride = request.stride or (trained.stride if trained else PATCH_SIZE)
    size = request.image_size or (trained.image_size if trained else architecture.image_size)
    num_cameras = _num_cameras(request, weights, architecture)
    _check_sampling(architecture, size, stride=stride)
    return EncoderPlan(
        architecture=architecture,
        image_size=size,
        stride=stride,
        num_cameras=num_cameras,
        camera_scale=_camera_scale(request, weights),
        activation=_activation(request, weights),
        pooling=_pooling(request, weights, architecture),
        source_grid=source_grid,
    )


def _architecture_of(request: EncoderRequest, weights: WeightsFile) -> Architecture:
    found = _recognise(weights)
    if request.kind is not None and architecture_named(request.kind) is not found:
        raise EncoderError(
            f"{weights.origin} holds a {found.kind}, but the encoder asked for is {request.kind}: "
            "leave the encoder's kind out, or pass other weights"
        )
    return found


def _recognise(weights: WeightsFile) -> Architecture:
    author = weights.encoder.get("name")
    if weights.encoder and author not in list(ARCHITECTURES):
        raise EncoderError(
            f"{weights.origin} was written by the encoder {author!r}, which is not built in: name "
            "that encoder's kind and install its plug-in"
        )
    measures = _measures(weights.image)
    for architecture in ARCHITECTURES.values():
        expected = (architecture.layers, architecture.width, architecture.projected_width)
        if measures == expected:
            return architecture
    layers, width, projected = measures
    raise EncoderError(
        f"{weights.origin} holds an encoder of unknown size (layers {layers}, width {width}, "
        f"projected width {projected}): known are {', '.join(ARCHITECTURES)}"
    )


def _measures(image: Mapping[str, Tensor]) -> tuple[int | tuple[int, ...], int, int]:
    """Read layers, width and projected width off the shapes; 0 for what is not there."""
    if f"{IMAGE_PREFIX}class_embedding" in image:
        layers = _num_children(image, "transformer.resblocks.")
        return layers, _length(image, "class_embedding", 0), _length(image, "proj", 1)
    stages = tuple(_num_children(image, f"layer{stage}.") for stage in (1, 2, 3, 4))
    return stages, _length(image, "conv3.weight", 0), _length(image, "attnpool.c_proj.weight", 0)


def _num_children(image: Mapping[str, Tensor], parent: str) -> int:
    prefix = IMAGE_PREFIX + parent
    return len(
        {name.removeprefix(prefix).split(".")[0] for name in image if name.startswith(prefix)}
    )


def _length(image: Mapping[str, Tensor], name: str, axis: int) -> int:
    value = image.get(IMAGE_PREFIX + name)
    return value.shape[axis] if value is not None and value.ndim > axis else 0


def positions_name(architecture: Architecture) -> str:
    """Name the position embeddings as released checkpoints do."""
    pool = "attnpool." if architecture.is_resnet else ""
    return f"{IMAGE_PREFIX}{pool}positional_embedding"


def _sampling_of(
    request: EncoderRequest, weights: WeightsFile, architecture: Architecture
) -> _Sampling | None:
    """Find out for which pictures the file's positions are; None for CLIP's own square grid."""
    name = positions_name(architecture).removeprefix(IMAGE_PREFIX)
    num_positions = max(0, _length(weights.image, name, 0) - 1)
    if not weights.is_resized:
        trained, grid = None, architecture.pretraining_grid
    else:
        trained = (
            _sampling_from_header(weights)
            if weights.encoder
            else _sampling_from_count(num_positions, request, weights, architecture)
        )
        grid = trained.grid
    if num_positions != grid.num_positions:
        raise EncoderError(
            f"{weights.origin} has {counted(num_positions, 'position embedding')} where its kind "
            f"has {grid.num_positions}: pass another file"
        )
    return trained


def _sampling_from_header(weights: WeightsFile) -> _Sampling:
    options = weights.encoder.get("options")
    match options:
        case {"image_size": [int(height), int(width)], "stride": int(stride)} if (
            min(height, width, stride) > 0
        ):
            return _Sampling(ImageSize(height, width), stride)
        case _:
            raise EncoderError(
                f"{weights.origin} does not say its image size and stride: write it again with "
                "reid train"
            )


def _sampling_from_count(
    num_positions: int,
    request: EncoderRequest,
    weights: WeightsFile,
    architecture: Architecture,
) -> _Sampling:
    sizes = {*_KNOWN_SIZES, request.image_size or architecture.image_size}
    strides = {PATCH_SIZE} if architecture.is_resnet else {*_KNOWN_STRIDES}
    if request.stride is not None and not architecture.is_resnet:
        strides.add(request.stride)
    fitting = [
        _Sampling(size, stride)
        for size in sizes
        for stride in strides
        if Grid.of(size, stride=stride).num_positions == num_positions
    ]
    asked = [sampling for sampling in fitting if _agrees(sampling, request)]
    for candidates in (asked, fitting):
        if len(candidates) == 1:
            return candidates[0]
    raise EncoderError(
        f"{weights.origin} has {counted(num_positions, 'position embedding')}, which fits "
        f"{counted(len(fitting), 'pair')} of known image size and stride: pass the "
        "image size and stride that it was trained with"
    )


def _agrees(sampling: _Sampling, request: EncoderRequest) -> bool:
    return (
        request.image_size in (None, sampling.image_size)
        and request.stride in (None, sampling.stride)
    )  # fmt: skip


def _num_cameras(
    request: EncoderRequest, weights: WeightsFile | None, architecture: Architecture
) -> int:
    if request.num_cameras < 0:
        raise ConfigurationError(f"{request.num_cameras} cameras: pass 0 or more")
    if architecture.is_resnet:
        if request.num_cameras:
            raise ConfigurationError(
                f"{architecture.kind} has no camera embeddings: use a ViT, or switch them off"
            )
        return 0
    cameras = weights.image.get(CAMERA_NAME) if weights else None
    if weights is None or cameras is None:
        return request.num_cameras
    if request.num_cameras not in (0, len(cameras)):
        raise EncoderError(
            f"{weights.origin} knows {counted(len(cameras), 'camera')}, but {request.num_cameras} "
            "should be known: leave the number out, or pass weights without camera embeddings"
        )
    return len(cameras)


def _camera_scale(request: EncoderRequest, weights: WeightsFile | None) -> float:
    options = weights.encoder.get("options") if weights else None
    match options:
        case {"camera_scale": int(scale) | float(scale)}:
            return float(scale)
        case _:
            return request.camera_scale


def _activation(request: EncoderRequest, weights: WeightsFile | None) -> Activation:
    known = weights.activation if weights else None
    if weights is None or known is None:
        return request.activation
    # Quick GELU is what is asked for where nobody asks.
    if request.activation not in (Activation.QUICK_GELU, known):
        raise EncoderError(
            f"{weights.origin} was trained with the activation {known}, not {request.activation}: "
            "leave encoder.activation out, or pass other weights"
        )
    return known


def _pooling(
    request: EncoderRequest, weights: WeightsFile | None, architecture: Architecture
) -> Pooling:
    asked, known = request.pooling, weights.pooling if weights else None
    if not architecture.is_resnet:
        if asked is not Pooling.AVERAGE:
            raise ConfigurationError(
                f"{architecture.kind} has no maps to pool by {asked}: leave encoder.pooling out, "
                "or use a ResNet"
            )
        return Pooling.AVERAGE
    if weights is None or known is None:
        return asked
    # The average is what is asked for where nobody asks.
    if asked not in (Pooling.AVERAGE, known):
        raise EncoderError(
            f"{weights.origin} was trained with the pooling {known}, not {asked}: leave "
            "encoder.pooling out, or pass other weights"
        )
    return known


def _check_sampling(architecture: Architecture, size: ImageSize, *, stride: int) -> None:
    if min(size.height, size.width) < PATCH_SIZE:
        raise ConfigurationError(f"image size {size} is smaller than a patch: use 16x16 or more")
    if not architecture.is_resnet:
        if not 1 <= stride <= PATCH_SIZE:
            raise ConfigurationError(f"stride {stride} is outside 1..{PATCH_SIZE}")
        return
    if stride != PATCH_SIZE:
        raise ConfigurationError(
            f"{architecture.kind} has a stride of {PATCH_SIZE} only, not {stride}"
        )
    if size.height % PATCH_SIZE or size.width % PATCH_SIZE:
        raise ConfigurationError(
            f"{architecture.kind} needs a height and width that {PATCH_SIZE} divides, not {size}"
        )
