"""What each training stage minimises: the loss terms and their weighted sum.

Letters: B batch, C identities, E width of the shared space.
"""

from collections.abc import Mapping
from dataclasses import dataclass

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
    """A value to minimise and the terms that it is made of."""

    total: Tensor
    """() float, differentiable."""

    terms: dict[str, Tensor]
    """() float each, by name, before weighting."""


def prompt_objective(images: Tensor, texts: Tensor, *, labels: Tensor) -> Objective:
    """Draw each identity's prompt to its images, and the images to the prompt.

    CLIP-ReID, equations 3 to 5: L = L_i2t + L_t2i.

    Args:
        images: (B, E) float, projected image features, constant.
        texts: (B, E) float, the text feature of each image's identity.
        labels: (B,) int64.
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
) -> Objective:
    """Tell identities apart by class, by distance and by their prompts.

    CLIP-ReID, equations 6 to 9. As in the authors' code the terms of the several feature levels are
    summed, not averaged.

    Args:
        features: Of a PK batch.
        scores: Of the same batch.
        labels: (B,) int64.
        text_features: (C, E) float, one row per identity, constant; None leaves prompts out.
        recipe: Gives margin, smoothing and weights.
    """
    smoothing = recipe.label_smoothing
    identity = identity_loss(scores.final, labels, smoothing=smoothing) + identity_loss(
        scores.projected, labels, smoothing=smoothing
    )
    triplet = sum_of_triplets(features, labels=labels, margin=recipe.triplet_margin)
    total = recipe.identity_weight * identity + recipe.triplet_weight * triplet
    terms = {"identity": identity, "triplet": triplet}
    if text_features is not None:
        terms["i2tce"] = image_to_text_loss(
            features.projected, text_features, labels, smoothing=smoothing
        )
        total = total + recipe.image_to_text_weight * terms["i2tce"]
    return Objective(total=total, terms=terms)


def with_losses(
    objective: Objective,
    features: ImageFeatures,
    *,
    labels: Tensor,
    losses: Mapping[str, Loss],
    weights: Mapping[str, float],
) -> Objective:
    """Add losses of one's own to an objective, each summed over the three feature levels.

    Args:
        objective: Returned unchanged where there are no losses.
        features: Of the same batch.
        labels: (B,) int64.
        losses: By name, none that of a term of the objective.
        weights: By the same names.
    """
    total, terms = objective.total, dict(objective.terms)
    for name, loss in losses.items():
        levels = (features.penultimate, features.final, features.projected)
        terms[name] = loss(levels[0], labels) + loss(levels[1], labels) + loss(levels[2], labels)
        total = total + weights[name] * terms[name]
    return Objective(total=total, terms=terms)


def sum_of_triplets(features: ImageFeatures, *, labels: Tensor, margin: float) -> Tensor:
    """Add up the batch-hard triplet losses of all three feature levels."""
    levels = (features.penultimate, features.final, features.projected)
    losses = [batch_hard_triplet_loss(level, labels, margin=margin) for level in levels]
    return losses[0] + losses[1] + losses[2]
