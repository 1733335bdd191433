"""The plan of an encoder: a request reconciled with its weights file."""

from enum import StrEnum
from typing import NamedTuple, TypeVar

from reid.adapters.encoders.architecture import (
    IMAGE_PREFIX,
    Architecture,
    EncoderPlan,
    Measures,
    length_of,
)
from reid.adapters.encoders.kinds import KINDS, kind_named
from reid.adapters.encoders.weights import CAMERA_NAME, WeightsFile
from reid.domain.errors import ConfigurationError, EncoderError
from reid.domain.values.counts import counted
from reid.domain.values.encoders import Activation, EncoderRequest, Pooling
from reid.domain.values.samples import ImageSize

_KNOWN_SIZES = tuple(
    ImageSize(height, width)
    for height, width in ((256, 128), (384, 128), (384, 192), (256, 256), (128, 64), (224, 224))
)
_MOST_CAMERAS = 64
"""More than any public set has (CityFlow-ReID: 40); a file with more rows counts views, too."""

_Choice = TypeVar("_Choice", bound=StrEnum)


class _Sampling(NamedTuple):
    """How images become a grid."""

    image_size: ImageSize
    stride: int


def plan_encoder(request: EncoderRequest, weights: WeightsFile | None) -> EncoderPlan:
    """Decide what to build.

    A size or stride in the request takes precedence over the file's, and positions are then
    resized: features stay meaningful, though the file was not trained for them. The weight of
    camera embeddings, the activation and the pooling are the file's where it names them.

    Raises:
        ConfigurationError: The request makes no sense by itself.
        EncoderError: The request contradicts the file, or the file lacks information.
    """
    kind = kind_named(request.kind) if weights is None else _kind_of(request, weights)
    if request.pooling not in kind.poolings:
        raise ConfigurationError(
            f"encoder.pooling: {kind.kind} has no maps to pool by {request.pooling}; leave it out, "
            "or use a ResNet"
        )
    activation = _choose("activation", request, weights, usual=Activation.QUICK_GELU)
    pooling = _choose("pooling", request, weights, usual=Pooling.AVERAGE)
    scale = weights.options.get("camera_scale") if weights else None
    trained = None if weights is None else _sampling_of(request, weights, kind)
    own = trained or _Sampling(kind.image_size, kind.usual_strides[0])
    size, stride = request.image_size or own.image_size, request.stride or own.stride
    num_cameras = _num_cameras(request, weights, kind)
    if min(size.height, size.width) < (least := kind.patch_size):
        raise ConfigurationError(
            f"encoder.image_size: {size} is smaller than a patch; use {least}x{least} or more"
        )
    kind.check_stride(size, stride)
    return EncoderPlan(
        architecture=kind,
        image_size=size,
        stride=stride,
        num_cameras=num_cameras,
        camera_scale=float(scale) if isinstance(scale, int | float) else request.camera_scale,
        activation=activation,
        pooling=pooling,
        source_grid=kind.grid(*trained) if trained else kind.pretraining_grid,
    )


def _kind_of(request: EncoderRequest, weights: WeightsFile) -> Architecture:
    if weights.author is not None and weights.author not in KINDS:
        raise EncoderError(
            f"{weights.origin} was written by the encoder {weights.author!r}, which is not built "
            "in: name that encoder's kind and install its plug-in"
        )
    measured: Measures | None = None
    for architecture in map(kind_named, KINDS):
        found = architecture.measure(weights.image)
        if found == (architecture.layers, architecture.width, architecture.projected_width):
            if request.kind is not None and kind_named(request.kind) is not architecture:
                raise EncoderError(
                    f"{weights.origin} holds a {architecture.kind}, but encoder.kind is "
                    f"{request.kind}: leave that out, or name other weights"
                )
            return architecture
        measured = found or measured
    sizes = "layers {}, width {}, projected width {}".format(*measured) if measured else "none"
    raise EncoderError(
        f"{weights.origin} holds an encoder of unknown size ({sizes}): known are {', '.join(KINDS)}"
    )


def _choose(
    name: str, request: EncoderRequest, weights: WeightsFile | None, *, usual: _Choice
) -> _Choice:
    """Take the option that the weights name, or else the request's, whose default is `usual`."""
    asked: _Choice = getattr(request, name)
    said = weights.options.get(name) if weights else None
    if weights is None or said is None:
        return asked
    known = type(usual)
    if said not in list(known):
        raise EncoderError(
            f"{weights.origin} was trained with the {name} {said!r}, which this version does not "
            "know"
        )
    if asked not in (usual, said):
        raise EncoderError(
            f"{weights.origin} was trained with the {name} {said}, not {asked}: leave "
            f"encoder.{name} out, or name other weights"
        )
    return known(said)


def _sampling_of(
    request: EncoderRequest, weights: WeightsFile, architecture: Architecture
) -> _Sampling | None:
    """Find the images of the file's positions; None for CLIP's own square grid."""
    name = architecture.positions_name.removeprefix(IMAGE_PREFIX)
    num_positions = max(0, length_of(weights.image, name, 0) - 1)
    trained, grid = None, architecture.pretraining_grid
    if weights.is_resized or num_positions != grid.num_positions:
        trained = (
            _sampling_in(weights)
            if weights.author is not None
            else _sampling_from_count(num_positions, request, weights, architecture)
        )
        grid = architecture.grid(*trained)
    if num_positions != grid.num_positions:
        raise EncoderError(
            f"{weights.origin} has {counted(num_positions, 'position embedding')} where its kind "
            f"has {grid.num_positions}: pass another file"
        )
    return trained


def _in_words(found: _Sampling) -> str:
    return f"{found.image_size} at stride {found.stride}"


def _sampling_in(weights: WeightsFile) -> _Sampling:
    match weights.options:
        case {"image_size": [int(height), int(width)], "stride": int(stride)} if (
            min(height, width, stride) > 0
        ):
            return _Sampling(ImageSize(height, width), stride)
    raise EncoderError(
        f"{weights.origin} does not say its image size and stride: write it again by a training"
    )


def _sampling_from_count(
    num_positions: int, request: EncoderRequest, weights: WeightsFile, architecture: Architecture
) -> _Sampling:
    sizes = {*_KNOWN_SIZES, request.image_size or architecture.image_size}
    strides = {*architecture.usual_strides}
    if request.stride is not None and len(strides) > 1:
        strides.add(request.stride)
    fitting = [
        _Sampling(size, stride)
        for size in sizes
        for stride in strides
        if architecture.grid(size, stride).num_positions == num_positions
    ]
    asked = [
        found
        for found in fitting
        if request.image_size in (None, found.image_size) and request.stride in (None, found.stride)
    ]
    for candidates in (asked, fitting):
        if len(candidates) == 1:
            return candidates[0]
    known = " and ".join(sorted(map(_in_words, fitting))) or "no image size that is known"
    raise EncoderError(
        f"{weights.origin} has {counted(num_positions, 'position embedding')}, which fits {known}: "
        "set the size and stride that it was trained with (encoder.image_size, encoder.stride)"
    )


def _num_cameras(
    request: EncoderRequest, weights: WeightsFile | None, architecture: Architecture
) -> int:
    if request.num_cameras < 0:
        raise ConfigurationError(f"{request.num_cameras} cameras: pass 0 or more")
    if not architecture.has_cameras:
        if request.num_cameras:
            raise ConfigurationError(
                f"{architecture.kind} has no camera embeddings: use a ViT, or switch them off"
            )
        return 0
    cameras = weights.image.get(CAMERA_NAME) if weights else None
    if weights is None or cameras is None:
        return request.num_cameras
    known = _count_cameras(len(cameras), request, weights)
    if request.num_cameras not in (0, known):
        raise EncoderError(
            f"{weights.origin} knows {counted(known, 'camera')}, but {request.num_cameras} should "
            "be known: leave the number out, say how many views each camera has "
            "(encoder.camera_views), or pass weights without camera embeddings"
        )
    return known


def _count_cameras(rows: int, request: EncoderRequest, weights: WeightsFile) -> int:
    """Count cameras by their rows, of which a set of vehicles has one for each of their views."""
    if weights.author is not None:
        return rows  # our own files hold one for each camera
    views = request.camera_views or 1
    if request.camera_views is None and rows > _MOST_CAMERAS:
        raise EncoderError(
            f"{weights.origin} has {rows} camera embeddings: one for each camera, or for each view "
            "of fewer cameras (VeRi-776: 20 cameras with 8 views); set encoder.camera_views to the "
            "number of views, 1 where there are none"
        )
    if rows % views:
        raise ConfigurationError(
            f"encoder.camera_views: {rows} camera embeddings of {weights.origin} are not those of "
            f"cameras with {views} views each; set the number that it was trained with"
        )
    return rows // views
