"""Models of open_clip, `open_clip:NAME`: their factory."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reid.adapters.encoders.architecture import PixelStatistics
from reid.adapters.encoders.image_tower import ImageTower
from reid.adapters.encoders.open_clip_images import OpenClipVisual, wrap
from reid.adapters.encoders.open_clip_text import OpenClipTextTower, hub_tokenizer
from reid.adapters.encoders.open_clip_weights import (
    build,
    configuration_of,
    download,
    fill,
    find_tag,
    has_foreign_text,
    read_model_file,
)
from reid.adapters.encoders.tensor_files import read_tensors
from reid.adapters.encoders.text_encoder import PromptTower
from reid.adapters.encoders.tower_encoder import TowerEncoder, assemble
from reid.adapters.encoders.towers import check_state
from reid.adapters.encoders.weights import encoder_in
from reid.domain.errors import ConfigurationError, EncoderError
from reid.domain.training.heads import HEAD_NAMES
from reid.domain.values.encoders import EncoderDescription, EncoderGeometry, EncoderRequest, Pooling
from reid.domain.values.json_values import JsonValue
from reid.domain.values.samples import ImageSize

_PERSON = ImageSize(256, 128)
_CLIP_STATISTICS = (
    (0.48145466, 0.4578275, 0.40821073),
    (0.26862954, 0.26130258, 0.27577711),
)
"""OpenAI's, for models of which open_clip publishes no weights."""

_FOREIGN_TEXT = "its text tower is a model of Hugging Face, which reads words, not embeddings"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """Where a model's weights come from, and what they were trained with."""

    words: str
    pixels: PixelStatistics
    quick_gelu: bool
    model: Mapping[str, Tensor] | None = None  # open_clip's own names; None: drawn
    trained: Mapping[str, Tensor] | None = None  # the whole image tower of one of reid's runs
    image_size: ImageSize | None = None  # of that run
    stride: int | None = None
    is_pretrained: bool = True
    num_identities: int | None = None


def create_open_clip_encoder(request: EncoderRequest) -> TowerEncoder:
    """Build a model of open_clip from random weights, published ones by their tag, or a file.

    Activation, pixel statistics, context and tokenizer are the model's own, so the request's
    activation is not read. Images may have any size, positions are stretched; a plain ViT takes any
    stride up to its patch's size.

    Raises:
        ConfigurationError: open_clip has no such model, or size, stride or options do not suit it.
        EncoderError: The weights cannot be had or read, or are of another model.
    """
    name, source, request = _find_weights(request)
    if request.pooling is not Pooling.AVERAGE or request.num_cameras or request.options:
        raise ConfigurationError(
            f"open_clip:{name} pools as open_clip does, knows no cameras and takes no options: "
            "leave out encoder.pooling, encoder.camera_embedding and encoder.options"
        )
    visual, text, without_text = _build(name, source, request)
    tower = ImageTower(visual, camera_scale=1.0)
    size = _fit(tower, source=source, request=request, name=name)
    options: dict[str, JsonValue] = {
        "image_size": [size.height, size.width],
        "quick_gelu": source.quick_gelu,
        "pixel_mean": list(source.pixels[0]),
        "pixel_std": list(source.pixels[1]),
    }
    options |= {"stride": request.stride} if request.stride else {}
    return assemble(
        tower,
        text,
        geometry=_probed(visual, size, pixels=source.pixels, name=name),
        description=EncoderDescription(
            name=f"open_clip:{name}",
            weights=source.words,
            is_pretrained=source.is_pretrained,
            is_trained=request.weights != "random",
            options=options,
            num_identities=source.num_identities,
            without_text=without_text,
        ),
        request=request,
    )


def _build(
    name: str, source: _Source, request: EncoderRequest
) -> tuple[OpenClipVisual, PromptTower | None, str]:
    """Build both towers and load open_clip's weights; where there is no text tower, say why."""
    configuration = configuration_of(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(request.seed)  # noqa: TID251 - open_clip's initialisers take no generator
        model: Any = build(configuration, quick_gelu=source.quick_gelu).eval()
        has_text = source.model is None or fill(model, source.model, origin=request.weights)
        visual = wrap(model.visual)
        if source.model is source.trained is None:
            visual.redraw()
    if source.trained is not None:
        return visual, None, "a run keeps the image tower alone"
    if has_foreign_text(configuration):
        return visual, None, _FOREIGN_TEXT
    if not has_text:
        return visual, None, "the file holds none"
    return visual, _text_tower(model, name, configuration["text_cfg"]), ""


def _find_weights(request: EncoderRequest) -> tuple[str, _Source, EncoderRequest]:
    """Find name and weights, and complete the request by what a run's file says."""
    path = Path(request.weights)
    if path.is_file():
        file = read_tensors(path)
        if file.header is not None and (encoder := encoder_in(file.header, path)):
            return _run_source(request, file.tensors, encoder, path)
    name = str(request.kind).partition(":")[2]
    configuration, usual = configuration_of(name), find_tag(name, None)
    source = _Source(
        words=f"random (seed {request.seed})",
        pixels=usual.pixels if usual else _CLIP_STATISTICS,
        quick_gelu=bool(configuration.get("quick_gelu", False)),
        is_pretrained=False,
    )
    if request.weights == "random":
        return name, source, request
    if path.is_file():
        model, words = read_model_file(path)
        found = replace(source, words=path.name + words, model=model, is_pretrained=True)
        return name, found, request
    tag = usual if request.weights == "pretrained" else find_tag(name, request.weights)
    if tag is None:
        raise EncoderError(
            f"encoder.weights: open_clip publishes none for {name}; name a file of weights"
        )
    found = _Source(
        words=f"{tag.name} (open_clip)",
        pixels=tag.pixels,
        quick_gelu=tag.quick_gelu,
        model=read_model_file(download(name, tag))[0],
    )
    return name, found, request


def _run_source(
    request: EncoderRequest,
    tensors: Mapping[str, Tensor],
    encoder: Mapping[str, JsonValue],
    path: Path,
) -> tuple[str, _Source, EncoderRequest]:
    classifier = tensors.get("classifier.weight")
    match encoder.get("options"):
        case {
            "image_size": [int(height), int(width)],
            "quick_gelu": bool(quick_gelu),
            "pixel_mean": [float(), float(), float()] as mean,
            "pixel_std": [float(), float(), float()] as std,
            **others,
        }:
            size, stride = ImageSize(height, width), others.get("stride")
        case _:
            raise EncoderError(
                f"{path} does not say its image size and pixel statistics: write it again by a "
                "training"
            )
    source = _Source(
        words=f"{path.name} (trained from {encoder.get('weights', 'unknown weights')})",
        pixels=(tuple(mean), tuple(std)),
        quick_gelu=quick_gelu,
        trained={name: value for name, value in tensors.items() if not name.startswith(HEAD_NAMES)},
        image_size=size,
        stride=stride if isinstance(stride, int) else None,
        is_pretrained=bool(encoder.get("is_pretrained", False)),
        num_identities=None if classifier is None else len(classifier),
    )
    completed = replace(
        request,
        image_size=request.image_size or source.image_size,
        stride=request.stride or source.stride,
    )
    return str(encoder.get("name")).partition(":")[2], source, completed


def _text_tower(model: Any, name: str, settings: Mapping[str, Any]) -> OpenClipTextTower:  # noqa: ANN401
    import open_clip

    has_hub_tokenizer = bool(settings.get("hf_tokenizer_name"))
    create = partial(open_clip.get_tokenizer, name)
    return OpenClipTextTower(
        getattr(model, "text", model),
        pool=settings.get("pool_type", "argmax"),
        tokenize=hub_tokenizer(name, create) if has_hub_tokenizer else None,
    )


def _fit(tower: ImageTower, *, source: _Source, request: EncoderRequest, name: str) -> ImageSize:
    """Fit the tower to the images, and load a run's weights at the size that they have."""
    visual: Any = tower.image_encoder
    if source.trained is not None and source.image_size is not None:
        _try(visual, source.image_size, source.stride, name=name)
        check_state(tower.state_dict(), source.trained, origin=request.weights)
        tower.load_state_dict(dict(source.trained))
        asked = (request.image_size, request.stride)
        if asked == (source.image_size, source.stride):
            return source.image_size
    side = visual.patch_size
    usual = ImageSize(_PERSON.height // side * side, _PERSON.width // side * side)
    size = request.image_size or usual
    _try(visual, size, request.stride, name=name)
    return size


def _try(visual: OpenClipVisual, size: ImageSize, stride: int | None, *, name: str) -> None:
    try:
        visual.fit(size, stride)
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        raise ConfigurationError(
            f"encoder.image_size: open_clip:{name} does not take images of {size} ({error}); "
            "choose another size"
        ) from error


def _probed(
    visual: OpenClipVisual, size: ImageSize, *, pixels: PixelStatistics, name: str
) -> EncoderGeometry:
    """Run the tower once, which shows its widths and whether it takes the size."""
    try:
        with torch.no_grad():
            features = visual(torch.zeros(1, 3, size.height, size.width), None)
    except (AssertionError, RuntimeError) as error:
        raise ConfigurationError(
            f"encoder.image_size: open_clip:{name} does not take images of {size} ({error}); "
            "choose another size"
        ) from error
    mean, std = pixels
    return EncoderGeometry(
        image_size=size,
        pixel_mean=mean,
        pixel_std=std,
        penultimate_width=0,
        final_width=features.final.shape[1],
        projected_width=features.projected.shape[1],
    )
