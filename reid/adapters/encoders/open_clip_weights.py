"""Models of open_clip: their configurations, their weights by tag, and weights in files."""

from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from reid.adapters.encoders.architecture import PixelStatistics
from reid.adapters.encoders.nesting import in_words, strip_prefix
from reid.adapters.encoders.tensor_files import read_tensors
from reid.adapters.encoders.towers import check_state
from reid.domain.errors import ConfigurationError, EncoderError

_ANYTHING: Mapping[str, int] = {
    "layers": 1, "width": 8, "heads": 1, "vocab_size": 8, "context_length": 8,
}  # fmt: skip
"""In place of a text tower that only Hugging Face's library could build."""

_IMAGES = "visual."  # begins the names of the image tower
_UNDROPPED = {"timm_drop": 0.0, "timm_drop_path": 0.0, "patch_dropout": 0.0}
"""Nothing is dropped at random in training, which would depend on global randomness."""


class Tag(NamedTuple):
    """What open_clip knows of published weights."""

    name: str
    details: Mapping[str, Any]

    @property
    def quick_gelu(self) -> bool:
        """Whether they were trained with QuickGELU."""
        return bool(self.details.get("quick_gelu", False))

    @property
    def pixels(self) -> PixelStatistics:
        """Mean and deviation of the pixels that they were trained on."""
        return tuple(self.details["mean"]), tuple(self.details["std"])


def configuration_of(model: str) -> dict[str, Any]:
    """Look up a model's configuration.

    Raises:
        ConfigurationError: open_clip has no such model.
    """
    from difflib import get_close_matches

    import open_clip

    known = open_clip.list_models()
    if model not in known:
        near = get_close_matches(model, known, n=5, cutoff=0.5)
        raise ConfigurationError(
            f"encoder.kind: open_clip has no model {model!r}"
            + (f"; did you mean one of {', '.join(near)}" if near else "")
            + "; open_clip.list_models() lists them"
        )
    configuration: dict[str, Any] = open_clip.get_model_config(model)
    return configuration


def find_tag(model: str, name: str | None) -> Tag | None:
    """Look up published weights; a name of None takes open_clip's first, None if it has none.

    Raises:
        EncoderError: There are none of this name.
    """
    import open_clip

    tags = open_clip.list_pretrained_tags_by_model(model)
    if name is None:
        return Tag(tags[0], open_clip.get_pretrained_cfg(model, tags[0])) if tags else None
    if not open_clip.is_pretrained_cfg(model, name):
        listed = f"it has {', '.join(tags)}" if tags else "it has none: name a file of weights"
        raise EncoderError(
            f"encoder.weights: no file is called {name!r}, and open_clip publishes no weights of "
            f"that name for {model}; {listed}"
        )
    return Tag(name, open_clip.get_pretrained_cfg(model, name))


def download(model: str, tag: Tag) -> Path:
    """Fetch weights into open_clip's cache, or find them there.

    Raises:
        EncoderError: They cannot be downloaded.
    """
    import open_clip

    try:
        return Path(open_clip.download_pretrained(dict(tag.details)))
    except (OSError, HTTPException, RuntimeError) as error:
        place = tag.details.get("hf_hub") or tag.details.get("url")
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise EncoderError(
            f"the weights {tag.name} of open_clip:{model} are not on this machine and cannot be "
            f"downloaded ({reason}): fetch {place} on a machine with network access and name the "
            "file in encoder.weights"
        ) from error


def build(configuration: Mapping[str, Any], *, quick_gelu: bool) -> nn.Module:
    """Build a model with random weights, drawn by torch's global generator."""
    from open_clip import CLIP, CoCa, CustomTextCLIP

    parts = {**configuration, "quick_gelu": quick_gelu}
    vision = {**parts["vision_cfg"], "timm_model_pretrained": False}
    parts["vision_cfg"] = vision | {name: 0.0 for name in _UNDROPPED if name in vision}
    is_custom = parts.pop("custom_text", False)
    if has_foreign_text(configuration):
        parts["text_cfg"], is_custom = dict(_ANYTHING), True
        parts.pop("multimodal_cfg", None)
    made_by = CoCa if "multimodal_cfg" in parts else CustomTextCLIP if is_custom else CLIP
    model: nn.Module = made_by(**parts)
    return model


def has_foreign_text(configuration: Mapping[str, Any]) -> bool:
    """Whether the text tower is a model of Hugging Face's."""
    return "hf_model_name" in configuration["text_cfg"]


def fill(model: nn.Module, tensors: Mapping[str, Tensor], *, origin: str) -> bool:
    """Load weights under any names that open_clip reads; returns whether they have a text tower.

    Positions of another square grid are stretched as open_clip does it.

    Raises:
        EncoderError: They are of another model.
    """
    from open_clip.convert import convert_state_dict
    from open_clip.model import convert_to_custom_text_state_dict, resize_pos_embed

    state = convert_state_dict(model, dict(tensors))
    if hasattr(model, "text"):
        state = convert_to_custom_text_state_dict(state)
    state = {
        name: value.float() if value.is_floating_point() else value for name, value in state.items()
    }
    resize_pos_embed(state, model)
    for name, value in model.state_dict().items():
        if name.endswith(".num_batches_tracked"):
            state.setdefault(name, torch.zeros_like(value))
    expected = model.state_dict()
    image = _part(state, is_image=True)
    check_state(_part(expected, is_image=True), image, origin=origin)
    text, expected_text = (_part(part, is_image=False) for part in (state, expected))
    text = {name: value for name, value in text.items() if name in expected_text}
    has_text = text.keys() == expected_text.keys()
    if has_text:
        check_state(expected_text, text, origin=origin)
    model.load_state_dict({**image, **text} if has_text else image, strict=False)
    return has_text


def read_model_file(path: Path) -> tuple[Mapping[str, Tensor], str]:
    """Read a checkpoint of open_clip in any entry and behind any prefix.

    Returns:
        The tensors, and which entry and prefix were taken, in words.

    Raises:
        EncoderError: The file cannot be read.
    """
    file = read_tensors(path)
    wanted = {name[name.find(_IMAGES) :] for name in file.tensors if _IMAGES in name}
    tensors, prefix = strip_prefix(file.tensors, wanted)
    return tensors, in_words(file.entry, prefix)


def _part(state: Mapping[str, Tensor], *, is_image: bool) -> dict[str, Tensor]:
    others = ("logit_", "text_decoder.")
    return {
        name: value
        for name, value in state.items()
        if name.startswith(_IMAGES) is is_image and not name.startswith(others)
    }
