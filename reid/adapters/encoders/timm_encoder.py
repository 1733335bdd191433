"""Image towers of timm, `timm:NAME`, and their factory; they have no text tower.

Letters: B batch, D width, H W pixels, h w grid.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from reid.adapters.encoders.architecture import IMAGENET_STATISTICS
from reid.adapters.encoders.efficientnet_names import rename_efficientnet
from reid.adapters.encoders.image_tower import ImageTower, Visual
from reid.adapters.encoders.nesting import in_words, strip_prefix
from reid.adapters.encoders.tensor_files import read_tensors
from reid.adapters.encoders.tower_encoder import TowerEncoder, assemble
from reid.adapters.encoders.towers import check_state
from reid.adapters.encoders.weights import encoder_in
from reid.domain.errors import ConfigurationError, EncoderError
from reid.domain.training.heads import HEAD_NAMES
from reid.domain.values.encoders import EncoderDescription, EncoderGeometry, EncoderRequest, Pooling
from reid.domain.values.explanations import Cells, MapTrace
from reid.domain.values.features import ImageFeatures
from reid.domain.values.json_values import JsonValue
from reid.domain.values.samples import ImageSize

_PERSON = ImageSize(256, 128)
_WIDTH_OPTION = "width"


class TimmVisual(Visual):
    """A model of timm without its classifier, and perhaps a linear map to a narrower descriptor."""

    is_faster_channels_last = True

    def __init__(self, model: nn.Module, *, in_width: int, width: int | None) -> None:
        """Draw the map from N(0, 1 / `in_width`); a `width` of None leaves it out."""
        super().__init__()
        self.model = model
        self.embed: nn.Linear | None = None
        if width is not None:
            self.embed = nn.Linear(in_width, width, bias=False)
            nn.init.normal_(self.embed.weight, std=in_width**-0.5)

    def forward(self, images: Tensor, cameras: Tensor | None) -> ImageFeatures:  # noqa: ARG002
        """Return the pooled features as the final level, or below their linear map."""
        return self._features(self.model(images))

    def trace(self, images: Tensor, cameras: Tensor | None) -> MapTrace:  # noqa: ARG002
        """Encode images, the last map a leaf that gradients reach.

        Raises:
            EncoderError: The model has no map, as a transformer of timm.
        """
        model: Any = self.model  # timm's methods, which nn.Module does not declare
        with torch.no_grad():
            maps = model.forward_features(images)
        if maps.ndim != 4 or maps.shape[1] != model.num_features:
            raise EncoderError(
                "this model of timm has no map of channels that could be explained: explain by a "
                "convolutional network, or by one of CLIP's encoders"
            )
        maps = maps.requires_grad_()
        with torch.enable_grad():
            features = self._features(model.forward_head(maps, pre_logits=True))
        rows, columns = maps.shape[2:]
        stride = images.shape[2] // rows
        cells = Cells(rows=rows, columns=columns, stride=stride, extent=stride)
        return MapTrace(features=features, maps=maps, cells=cells)

    def _features(self, pooled: Tensor) -> ImageFeatures:
        pooled = pooled.float()
        absent = pooled[:, :0]  # whose length an exported graph does not fix
        if self.embed is None:
            return ImageFeatures(penultimate=absent, final=pooled, projected=absent)
        final = self.embed(pooled).float()
        return ImageFeatures(penultimate=pooled, final=final, projected=absent)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """Where a tower's weights come from."""

    words: str
    model: Mapping[str, Tensor] | None = None  # timm's own names; None: drawn, or downloaded
    trained: Mapping[str, Tensor] | None = None  # the whole tower of one of reid's runs
    is_downloaded: bool = False
    is_pretrained: bool = True
    num_identities: int | None = None


def create_timm_encoder(request: EncoderRequest) -> TowerEncoder:
    """Build a model of timm from random weights, timm's own download, or a file.

    Images may have any size that the model takes; the stride is a convolutional network's output
    stride, 8, 16 or 32. The option `width` maps the pooled features to a descriptor of that width.

    Raises:
        ConfigurationError: timm knows no such model, or the sizes or options do not suit it.
        EncoderError: The weights cannot be had or read, or are of another model.
    """
    request, source = _find_weights(request)
    name = str(request.kind).partition(":")[2]
    config = _config_of(name)
    if request.pooling is not Pooling.AVERAGE or request.num_cameras:
        raise ConfigurationError(
            f"timm:{name} pools as timm does and knows no cameras: leave out encoder.pooling and "
            "encoder.camera_embedding"
        )
    width = _width_in(request.options)
    size = request.image_size or _usual_size(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(request.seed)  # noqa: TID251 - timm's initialisers take no generator
        model = _create_model(name, size, stride=request.stride, source=source, config=config)
        pooled_width = _probe(model, size, name=name)
        tower = ImageTower(TimmVisual(model, in_width=pooled_width, width=width), camera_scale=1.0)
    if source.trained is not None:
        check_state(tower.state_dict(), source.trained, origin=request.weights)
        tower.load_state_dict(dict(source.trained))
    options: dict[str, JsonValue] = {"image_size": [size.height, size.width]}
    options |= {"stride": request.stride} if request.stride else {}
    options |= {_WIDTH_OPTION: width} if width else {}
    return assemble(
        tower,
        None,
        geometry=EncoderGeometry(
            image_size=size,
            pixel_mean=config.get("mean", IMAGENET_STATISTICS[0]),
            pixel_std=config.get("std", IMAGENET_STATISTICS[1]),
            penultimate_width=pooled_width if width else 0,
            final_width=width or pooled_width,
            projected_width=0,
        ),
        description=EncoderDescription(
            name=f"timm:{name}",
            weights=source.words,
            is_pretrained=source.is_pretrained,
            is_trained=request.weights != "random",
            options=options,
            num_identities=source.num_identities,
        ),
        request=request,
    )


def _find_weights(request: EncoderRequest) -> tuple[EncoderRequest, _Source]:
    """Find the weights, and complete the request by what a run's file says."""
    if request.weights == "random":
        words = f"random (seed {request.seed})"
        return request, _Source(words=words, is_pretrained=False)
    if request.weights == "pretrained":
        return request, _Source(words="pretrained (timm)", is_downloaded=True)
    path = Path(request.weights)
    tensors, header, entry = read_tensors(path)
    encoder = None if header is None else encoder_in(header, path)
    if encoder is None:
        model, prefix = strip_prefix(rename_efficientnet(tensors), _names_in(request))
        return request, _Source(words=path.name + in_words(entry, prefix), model=model)
    options = encoder.get("options")
    known = dict(options) if isinstance(options, dict) else {}
    classifier = tensors.get("classifier.weight")
    source = _Source(
        words=f"{path.name} (trained from {encoder.get('weights', 'unknown weights')})",
        trained={name: value for name, value in tensors.items() if not name.startswith(HEAD_NAMES)},
        is_pretrained=bool(encoder.get("is_pretrained", False)),
        num_identities=None if classifier is None else len(classifier),
    )
    match known.pop("image_size", None), known.pop("stride", None):
        case [int(height), int(width)], (int() | None) as stride:
            return replace(
                request,
                kind=str(encoder.get("name")),
                image_size=request.image_size or ImageSize(height, width),
                stride=request.stride or stride,
                options={**known, **request.options},
            ), source
    raise EncoderError(
        f"{path} does not say its image size and stride: write it again by a training"
    )


def _names_in(request: EncoderRequest) -> Collection[str]:
    """List the names of a model's weights; none where timm does not know it."""
    import timm

    name = str(request.kind).partition(":")[2]
    if not timm.is_model(name.partition(".")[0]):
        return ()
    with torch.device("meta"):
        model: nn.Module = timm.create_model(name, num_classes=0)
    return model.state_dict().keys()


def _config_of(name: str) -> Mapping[str, Any]:
    """Read what timm records of a model: pixel statistics, classifier, whether sizes are fixed."""
    import timm

    if not timm.is_model(name.partition(".")[0]):
        near = ", ".join(get_close_matches(name, timm.list_models(), n=5))
        raise ConfigurationError(
            f"encoder.kind: timm knows no model {name!r}"
            + (f"; did you mean one of {near}" if near else "; timm.list_models() lists them")
        )
    found = timm.get_pretrained_cfg(name)
    return {} if found is None else vars(found)


def _usual_size(name: str) -> ImageSize:
    """Take 256x128, cut to whole patches where the name states their size."""
    patch = re.search(r"patch(\d+)", name)
    side = int(patch[1]) if patch else 1
    return ImageSize(_PERSON.height // side * side, _PERSON.width // side * side)


def _width_in(options: Mapping[str, JsonValue]) -> int | None:
    width = options.get(_WIDTH_OPTION)
    is_width = width is None or (isinstance(width, int) and width > 0)
    if not is_width or options.keys() - {_WIDTH_OPTION}:
        raise ConfigurationError(
            f"encoder.options: a model of timm takes `{_WIDTH_OPTION}` alone, a descriptor's width "
            "such as 512"
        )
    return width  # type: ignore[return-value]  # checked above


def _create_model(
    name: str, size: ImageSize, *, stride: int | None, source: _Source, config: Mapping[str, Any]
) -> nn.Module:
    import timm

    sizes: dict[str, Any] = (
        {"img_size": (size.height, size.width)} if config.get("fixed_input_size") else {}
    )
    if stride is not None:
        sizes["output_stride"] = stride
    if source.model is not None:
        sizes["pretrained_cfg_overlay"] = {"state_dict": dict(source.model)}
    loads = source.is_downloaded or source.model is not None
    try:
        model: nn.Module = timm.create_model(name, pretrained=loads, num_classes=0, **sizes)
    except (TypeError, AssertionError, NotImplementedError) as error:
        raise ConfigurationError(
            f"encoder.image_size, encoder.stride: timm cannot build {name} for {size} at stride "
            f"{stride or 'of its own'} ({error or 'refused'}): choose another size, or leave the "
            "stride out"
        ) from error
    except (OSError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        advice = (
            f"fetch it on a machine with network access (timm.create_model({name!r}, "
            "pretrained=True)), copy that cache or name the file in encoder.weights"
            if source.is_downloaded
            else "pass weights of this model, as timm names them"
        )
        raise EncoderError(
            f"no weights {source.words} for timm:{name} ({reason}): {advice}"
        ) from error
    return model


def _probe(model: nn.Module, size: ImageSize, *, name: str) -> int:
    """Run the model once, which shows its width and whether it takes the size."""
    try:
        with torch.no_grad():
            pooled = model.eval()(torch.zeros(1, 3, size.height, size.width))
    except (AssertionError, RuntimeError) as error:
        raise ConfigurationError(
            f"encoder.image_size: {name} does not take images of {size} ({error}); choose another "
            "size"
        ) from error
    if not isinstance(pooled, Tensor) or pooled.ndim != 2:
        raise ConfigurationError(f"encoder.kind: {name} gives no vector per image; choose another")
    return int(pooled.shape[1])
