"""Objectives of the training stages: the loss terms and their weighted sum.

Letters: B batch, C identities, E width of the shared space.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

from torch import Tensor

from reid.domain.training.heads import IdentityScores
from reid.domain.training.losses import (
    Loss,
    batch_hard_triplet_loss,
    identity_loss,
    image_to_text_loss,
    supervised_contrastive_loss,
)
from reid.domain.values.features import ImageFeatures
from reid.domain.values.recipes import FineTuningRecipe


@dataclass(frozen=True, slots=True)
class Objective:
    """A value to minimise, differentiable, and its terms by name, before weighting; () float."""

    total: Tensor
    terms: dict[str, Tensor]


def prompt_objective(images: Tensor, texts: Tensor, *, labels: Tensor) -> Objective:
    """Pull each identity's prompt to its images, and the images to the prompt.

    CLIP-ReID, equations 3 to 5: L = L_i2t + L_t2i.

    Projected image features, constant, and the text feature of each image's identity are (B, E)
    float; labels (B,) int64.
    """
    terms = {
        "i2t": supervised_contrastive_loss(images, texts, labels),
        "t2i": supervised_contrastive_loss(texts, images, labels),
    }
    return Objective(total=terms["i2t"] + terms["t2i"], terms=terms)


def fine_tuning_objective(
    features: ImageFeatures,
    scores: IdentityScores,
    *,
    labels: Tensor,
    text_features: Tensor | None,
    recipe: FineTuningRecipe,
    losses: Mapping[str, Loss] = MappingProxyType({}),
) -> Objective:
    """Separate identities by class, by distance and by their prompts.

    CLIP-ReID, equations 6 to 9. As in the authors' code the terms of the several feature levels are
    summed, not averaged.

    Features, scores and labels, (B,) int64, are of a PK batch; `text_features` (C, E) float,
    constant; None leaves prompts out. `losses` are added to the paper's objective, each summed over
    the three feature levels; they have the names of their weights in the recipe, none that of
    another term.
    """
    smoothing = recipe.label_smoothing
    triplet = partial(batch_hard_triplet_loss, margin=recipe.triplet_margin)
    terms = {
        "identity": identity_loss(scores.final, labels, smoothing=smoothing)
        + identity_loss(scores.projected, labels, smoothing=smoothing),
        "triplet": _sum_over_levels(triplet, features, labels),
    }
    total = recipe.identity_weight * terms["identity"] + recipe.triplet_weight * terms["triplet"]
    if text_features is not None:
        terms["i2tce"] = image_to_text_loss(
            features.projected, text_features, labels, smoothing=smoothing
        )
        total = total + recipe.image_to_text_weight * terms["i2tce"]
    for name, loss in losses.items():
        terms[name] = _sum_over_levels(loss, features, labels)
        total = total + recipe.losses[name] * terms[name]
    return Objective(total=total, terms=terms)


def _sum_over_levels(loss: Loss, features: ImageFeatures, labels: Tensor) -> Tensor:
    levels = (features.penultimate, features.final, features.projected)
    first, second, third = (loss(level, labels) for level in levels)
    return first + second + third
