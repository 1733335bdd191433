"""Tiny models in the shapes of open_clip's families, made known to open_clip."""

import json
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import open_clip

from reid.adapters.encoders.open_clip_encoder import create_open_clip_encoder
from reid.adapters.encoders.tower_encoder import TowerEncoder
from reid.domain.values.encoders import EncoderRequest
from reid.domain.values.samples import ImageSize

_TEXT = {"context_length": 32, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
_VIT = {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 16}

MODELS: Mapping[str, Mapping[str, Any]] = {
    "tiny-vit": {"embed_dim": 24, "vision_cfg": _VIT, "text_cfg": _TEXT},
    "tiny-14": {"embed_dim": 24, "vision_cfg": {**_VIT, "patch_size": 14}, "text_cfg": _TEXT},
    "tiny-siglip": {
        "embed_dim": 64,
        "init_logit_bias": -10,
        "custom_text": True,
        "vision_cfg": {
            "image_size": 160,
            "timm_model_name": "test_vit",
            "timm_pool": "map",
            "timm_proj": "none",
        },
        "text_cfg": {**_TEXT, "no_causal_mask": True, "proj_bias": True, "pool_type": "last"},
    },
    "tiny-convnext": {
        "embed_dim": 24,
        "vision_cfg": {
            "image_size": 64,
            "timm_model_name": "test_convnext",
            "timm_pool": "",
            "timm_proj": "mlp",
            "timm_drop_path": 0.1,
        },
        "text_cfg": _TEXT,
    },
    "tiny-mobileclip": {
        "embed_dim": 24,
        "custom_text": True,
        "vision_cfg": {
            "image_size": 160,
            "timm_model_name": "test_vit2",
            "timm_pool": "avg",
            "timm_proj": None,
        },
        "text_cfg": {**_TEXT, "no_causal_mask": True},
    },
    "tiny-coca": {
        "embed_dim": 24,
        "custom_text": True,
        "vision_cfg": {
            **_VIT,
            "attentional_pool": True,
            "attn_pooler_heads": 2,
            "attn_pooler_queries": 4,
            "output_tokens": True,
        },
        "text_cfg": {**_TEXT, "embed_cls": True, "output_tokens": True},
        "multimodal_cfg": {**_TEXT, "attn_pooler_heads": 2},
    },
    "tiny-resnet": {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "head_width": 32},
        "text_cfg": {**_TEXT, "pool_type": "eos", "eos_id": 49407},
    },
    "tiny-roberta": {
        "embed_dim": 24,
        "vision_cfg": _VIT,
        "text_cfg": {"hf_model_name": "roberta-base", "hf_tokenizer_name": "roberta-base"},
    },
}
WITH_TEXT = tuple(name for name in MODELS if name not in ("tiny-14", "tiny-roberta"))


@cache
def know_models() -> None:
    """Tell open_clip of them, as a user does with a file of one's own."""
    with tempfile.TemporaryDirectory() as folder:
        for name, configuration in MODELS.items():
            (Path(folder) / f"{name}.json").write_text(json.dumps(configuration))
        open_clip.add_model_config(Path(folder))


def request(model: str, **changes: object) -> EncoderRequest:
    """Ask for a model with random weights, and images of 64x32 pixels."""
    know_models()
    asked = {"kind": f"open_clip:{model}", "image_size": ImageSize(64, 32), **changes}
    return EncoderRequest(**asked)  # type: ignore[arg-type]


def created(model: str, **changes: object) -> TowerEncoder:
    """Build it."""
    return create_open_clip_encoder(request(model, **changes))
