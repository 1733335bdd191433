"""Named sets of constants, as nested overrides of the defaults.

Li et al. 2023 (arXiv:2211.13977), section 4.1, and the authors' configuration files for person
datasets.
"""

from collections.abc import Mapping
from typing import TypeAlias

Overrides: TypeAlias = "Mapping[str, str | int | float | bool | tuple[int, ...] | Overrides]"

_VIT: Mapping[str, Overrides] = {
    "prompts": {"epochs": 120},
    "finetuning": {
        "epochs": 60,
        "learning_rate": 5e-6,
        "weight_decay": 1e-4,
        "warmup_factor": 0.1,
        "milestones": (30, 50),
        "identity_weight": 0.25,
    },
}
_RN50: Mapping[str, Overrides] = {
    "prompts": {"epochs": 60},
    "finetuning": {
        "epochs": 120,
        "learning_rate": 3.5e-4,
        "weight_decay": 5e-4,
        "warmup_factor": 0.01,
        "milestones": (40, 70),
        "identity_weight": 1.0,
    },
}
_SCRATCH_FINETUNING: Mapping[str, str | int | float] = {
    "identities_per_batch": 32,
    "schedule": "cosine",
    "identity_weight": 1.0,
    "color_jitter_probability": 0.5,
}

# Backbones from ImageNet weights without a text tower: the bag of tricks (Luo et al. 2019,
# arXiv:1903.07071), with a cosine in place of steps.
_IMAGENET_FINETUNING: Mapping[str, str | int | float] = {
    "epochs": 60,
    "learning_rate": 3.5e-4,
    "weight_decay": 5e-4,
    "warmup_epochs": 5,
    "schedule": "cosine",
    "identity_weight": 1.0,
    "image_to_text_weight": 0.0,
}

RECIPES: Mapping[str, Overrides] = {
    "rn50": {"encoder": {"kind": "rn50"}, **_RN50},
    "vit-b16": {"encoder": {"kind": "vit-b16"}, **_VIT},
    # Overlapping patches and camera embeddings; 1.0 is the scale of the reported runs, the
    # authors' default file says 3.0.
    "vit-b16-sie-olp": {
        "encoder": {"kind": "vit-b16", "camera_embedding": True, "camera_scale": 1.0, "stride": 12},
        **_VIT,
    },
    # Not from the paper and not tuned, for lack of a GPU: CLIP's encoders from random weights.
    # Learning from one dataset alone needs long training, strong augmentation (the defaults have
    # erasing and label smoothing) and rates far above those for pretrained weights: BoT's for a
    # ResNet (Luo et al. 2019), doubled with the batch.
    "scratch-rn50": {
        "encoder": {"kind": "rn50", "weights": "random", "image_size": (256, 128)},
        "prompts": {"epochs": 60},
        "finetuning": {
            **_SCRATCH_FINETUNING,
            "epochs": 300,
            "learning_rate": 7e-4,
            "weight_decay": 5e-4,
            "warmup_factor": 0.01,
        },
    },
    # A ViT diverges more easily at the start than a ResNet: longer warm-up, clipped gradients.
    "scratch-vit-b16": {
        "encoder": {"kind": "vit-b16", "weights": "random", "image_size": (256, 128)},
        "prompts": {"epochs": 60},
        "finetuning": {
            **_SCRATCH_FINETUNING,
            "epochs": 200,
            "learning_rate": 3e-4,
            "weight_decay": 1e-4,
            "warmup_epochs": 20,
            "warmup_factor": 0.01,
            "max_grad_norm": 1.0,
        },
    },
    # Not from the paper: any model of open_clip, with weights that it publishes. The constants are
    # those of the paper's backbone of the same sort.
    "open-clip": {"encoder": {"kind": "open_clip:ViT-B-32", "weights": "pretrained"}, **_VIT},
    "open-clip-resnet": {"encoder": {"kind": "open_clip:RN101", "weights": "pretrained"}, **_RN50},
    # Not from the paper: any model of timm, with its own weights.
    "imagenet": {
        "encoder": {"kind": "timm:resnet50", "weights": "pretrained"},
        "finetuning": _IMAGENET_FINETUNING,
    },
    # Not from the paper: the small encoder that is shipped. Twice the rate, because the batch is
    # twice as large and a teacher's descriptors leave little noise.
    "lite0": {
        "encoder": {
            "kind": "timm:tf_efficientnet_lite0",
            "weights": "pretrained",
            "image_size": (128, 64),
            "options": {"width": 512},
        },
        "finetuning": {
            **_IMAGENET_FINETUNING,
            "identities_per_batch": 16,
            "learning_rate": 7e-4,
            "random_crop_padding": 5,
            "distillation_weight": 10.0,
            "neighbour_distillation_weight": 5.0,
        },
    },
    # Not from the paper: minutes on a CPU, from random weights. Small images and a high rate for
    # a small ResNet; no erasing, which harms short training.
    "tiny": {
        "encoder": {"kind": "rn-tiny", "weights": "random", "image_size": (64, 32)},
        "prompts": {"epochs": 5},
        "finetuning": {
            "epochs": 30,
            "learning_rate": 5e-3,
            "weight_decay": 5e-4,
            "warmup_epochs": 3,
            "milestones": (18, 26),
            "identity_weight": 1.0,
            "random_crop_padding": 5,
            "erasing_probability": 0.0,
        },
    },
    # Not from the paper: an hour on a CPU core for Market-1501, from random weights. Each choice
    # against the paper's is in the ablation table of docs/results.md.
    "scratch-cpu": {
        "encoder": {"kind": "rn-tiny", "weights": "random", "image_size": (128, 64)},
        "prompts": {"epochs": 20},
        "finetuning": {
            "epochs": 60,
            "learning_rate": 5e-3,
            "weight_decay": 5e-4,
            "warmup_epochs": 5,
            "schedule": "cosine",
            "identity_weight": 1.0,
            "erasing_probability": 0.0,
            "ema_decay": 0.999,
        },
    },
}
"""Recipes by name."""

DEFAULT_RECIPE = "vit-b16"
_RECIPE_OF_ENCODER = {"rn50": "rn50", "rn-tiny": "tiny", "vit-tiny": "tiny"}


def recipe_for(encoder_kind: str | None) -> str:
    """Return the recipe of an encoder, or of its family; plug-ins get the ViT's."""
    family, _, name = (encoder_kind or "").partition(":")
    if family == "open_clip":
        return "open-clip-resnet" if name.startswith("RN") else "open-clip"
    if family == "timm":
        return "imagenet"
    return _RECIPE_OF_ENCODER.get(encoder_kind or "", DEFAULT_RECIPE)
