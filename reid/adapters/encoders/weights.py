"""Weights files of CLIP and CLIP-ReID in all common layouts.

Whatever the layout, tensors get the names of the paper's released checkpoints: `image_encoder.*`,
`text_encoder.*` and `cv_embed`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from reid.adapters.encoders.architecture import IMAGE_PREFIX
from reid.adapters.encoders.nesting import in_words, strip_prefix
from reid.adapters.encoders.tensor_files import Header, read_tensors
from reid.adapters.encoders.text_encoder import TEXT_PREFIX
from reid.domain.errors import CheckpointError, EncoderError
from reid.domain.values.checkpoints import CHECKPOINT_VERSION, ENCODER_FORMAT, require_known_version
from reid.domain.values.encoders import Activation, Pooling
from reid.domain.values.json_values import JsonValue

CAMERA_NAME = "cv_embed"

_OPENAI_PREFIX = "visual."
_OPENAI_TEXT = ("transformer.", "token_embedding.", "ln_final.")
_OPENAI_TEXT_TENSORS = ("positional_embedding", "text_projection")
_FIRST_LAYERS = (f"{_OPENAI_PREFIX}conv1.weight", f"{IMAGE_PREFIX}conv1.weight")
"""By which a file's prefix is found."""
_OLDEST_OPTIONS = {"activation": Activation.QUICK_GELU.value, "pooling": Pooling.AVERAGE.value}
"""Of runs from before there was a choice, which their files do not name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsFile:
    """What a file holds of an encoder."""

    origin: str  # the file's path or address, for messages
    words: str  # how reports call these weights
    image: Mapping[str, Tensor]
    """`image_encoder.*` and perhaps `cv_embed`, float32 or integer, on the CPU."""
    text: Mapping[str, Tensor]  # `text_encoder.*`; empty where the file has no text encoder
    is_resized: bool
    """True if positions lie on a re-identification grid, False for CLIP's square one."""
    author: str | None = None
    """Kind of encoder that wrote it; None for files that reid did not write."""
    options: Mapping[str, JsonValue] = field(default_factory=dict)
    """What the file says of how it was trained, as in `EncoderDescription.options`."""
    is_pretrained: bool = True
    num_identities: int | None = None  # rows of the classifier; None where the file has none


def read_weights_file(path: Path) -> WeightsFile:
    """Read a file in any known layout.

    Known are OpenAI's TorchScript archives and state dicts in their layout, open_clip's
    checkpoints, CLIP-ReID's, and those of reid's own runs, pickled or as safetensors, within any
    entry and behind any prefix of their names. Only reid's own say with which options they were
    trained.

    Raises:
        EncoderError: The file is missing, damaged, unsafe, or holds no CLIP image encoder.
    """
    tensors, header, entry = read_tensors(path)
    encoder, prefix = None if header is None else encoder_in(header, path), ""
    if encoder is None:
        tensors, prefix = strip_prefix(tensors, _FIRST_LAYERS)
    is_released = encoder is not None or any(name.startswith(IMAGE_PREFIX) for name in tensors)
    image, text = _split_released(tensors if is_released else _rename_openai(tensors))
    classifier = tensors.get("classifier.weight")
    found = WeightsFile(
        origin=str(path),
        words=path.name + in_words(entry, prefix),
        image=image,
        text=text,
        is_resized=is_released,
        num_identities=None if classifier is None or not classifier.ndim else len(classifier),
    )
    if encoder is not None:
        options = encoder.get("options")
        return replace(
            found,
            words=f"{path.name} (trained from {encoder.get('weights', 'unknown weights')})",
            author=str(encoder.get("name")),
            options=_OLDEST_OPTIONS | (options if isinstance(options, dict) else {}),
            is_pretrained=bool(encoder.get("is_pretrained", False)),
        )
    if f"{IMAGE_PREFIX}conv1.weight" in image:
        return found
    some = ", ".join(sorted(tensors)[:3]) or "no table of named tensors"
    where = f" in its entry {entry}" if entry else ""
    raise EncoderError(
        f"{path} holds no CLIP image encoder (it has {some}{where}): pass weights whose names "
        f"hold {_OPENAI_PREFIX!r} or {IMAGE_PREFIX!r}, or name their kind (encoder.kind), such as "
        "`timm:NAME`"
    )


def encoder_in(header: Header, path: Path) -> Mapping[str, JsonValue]:
    """Return what the header of one of reid's own files says of its encoder.

    Raises:
        EncoderError: The file is of something else, or of a newer version.
    """
    encoder = header.get("encoder")
    if header.get("format") != ENCODER_FORMAT or not isinstance(encoder, dict):
        raise EncoderError(
            f"{path} is a checkpoint of reid, but not of an encoder: pass the encoder's file of "
            "that run"
        )
    try:
        require_known_version(header.get("version", 1), known=CHECKPOINT_VERSION, place=str(path))
    except CheckpointError as error:
        raise EncoderError(str(error)) from error
    return encoder


def _split_released(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Select image and text encoder; classifiers, BNNecks and prompts are left out."""
    image, text = (
        {name: _as_float32(value) for name, value in tensors.items() if name.startswith(prefix)}
        for prefix in (IMAGE_PREFIX, TEXT_PREFIX)
    )
    if CAMERA_NAME in tensors:
        image[CAMERA_NAME] = _as_float32(tensors[CAMERA_NAME])
    return image, text


def _rename_openai(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give released names; the unused logit scale and sizes have none."""
    renamed: dict[str, Tensor] = {}
    for name, value in tensors.items():
        if name.startswith(_OPENAI_PREFIX):
            renamed[IMAGE_PREFIX + name.removeprefix(_OPENAI_PREFIX)] = value
        elif name.startswith(_OPENAI_TEXT) or name in _OPENAI_TEXT_TENSORS:
            renamed[TEXT_PREFIX + name] = value
    return renamed


def _as_float32(value: Tensor) -> Tensor:
    # A copy, because a memory-mapped tensor would change when its file is overwritten.
    return value.detach().to(torch.float32 if value.is_floating_point() else value.dtype, copy=True)
