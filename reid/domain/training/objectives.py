"""Objectives of the training stages: the loss terms, their weighted sum, and its means by epoch.

Letters: B batch, C identities, E width of the shared space.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import torch
from torch import Tensor

from reid.domain.training.heads import IdentityScores
from reid.domain.training.losses import (
    Loss,
    batch_hard_triplet_loss,
    descriptor_distillation_loss,
    identity_loss,
    image_to_text_loss,
    similarity_distillation_loss,
    supervised_contrastive_loss,
)
from reid.domain.values.features import ImageFeatures
from reid.domain.values.recipes import FineTuningRecipe

_STEPS_BETWEEN_LOOKS = 50  # reading a number from an accelerator every step would stall it


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
    targets: Tensor | None = None,
) -> Objective:
    """Separate identities by class, by distance and by their prompts.

    CLIP-ReID, equations 6 to 9. As in the authors' code the terms of the several feature levels are
    summed, not averaged.

    Features, scores and labels, (B,) int64, are of a PK batch; `text_features` (C, E) float,
    constant; None leaves prompts out. `losses` are added to the paper's objective, each summed over
    the three feature levels; they have the names of their weights in the recipe, none that of
    another term. `targets`, (B, T) float, constant, are a teacher's descriptors of the images, if
    there is one and the scores are mapped to its space.
    """
    smoothing = recipe.label_smoothing
    triplet = partial(batch_hard_triplet_loss, margin=recipe.triplet_margin)
    identity = identity_loss(scores.final, labels, smoothing=smoothing)
    if scores.projected is not None:
        identity = identity + identity_loss(scores.projected, labels, smoothing=smoothing)
    terms = {
        "identity": identity,
        "triplet": _sum_over_levels(triplet, features, labels),
    }
    total = recipe.identity_weight * terms["identity"] + recipe.triplet_weight * terms["triplet"]
    if text_features is not None:
        terms["i2tce"] = image_to_text_loss(
            features.projected, text_features, labels, smoothing=smoothing
        )
        total = total + recipe.image_to_text_weight * terms["i2tce"]
    if targets is not None and scores.mapped is not None:
        terms["teacher"] = descriptor_distillation_loss(scores.mapped, targets)
        terms["neighbours"] = similarity_distillation_loss(
            features.embedding(), targets, temperature=recipe.distillation_temperature
        )
        total = total + recipe.distillation_weight * terms["teacher"]
        total = total + recipe.neighbour_distillation_weight * terms["neighbours"]
    for name, loss in losses.items():
        terms[name] = _sum_over_levels(loss, features, labels)
        total = total + recipe.losses[name] * terms[name]
    return Objective(total=total, terms=terms)


def _sum_over_levels(loss: Loss, features: ImageFeatures, labels: Tensor) -> Tensor:
    first, *others = (loss(level, labels) for level in features.levels())
    return sum(others, start=first)


class NotFiniteError(ArithmeticError):
    """A loss or weight is infinite or not a number; says where."""


class EpochLosses:
    """Sums the losses of an epoch's steps, and checks many at once."""

    def __init__(self, epoch: int) -> None:
        """Start before the first step."""
        self._epoch = epoch
        self._sums: dict[str, Tensor] = {}
        self._num_steps = 0
        self._unseen: list[dict[str, Tensor]] = []

    def add(self, objective: Objective) -> None:
        """Add the terms of the next step, and their weighted sum as `total`.

        Raises:
            NotFiniteError: A loss of this or of one of the last steps is not finite.
        """
        losses = objective.terms | {"total": objective.total}
        losses = {name: value.detach() for name, value in losses.items()}
        for name, value in losses.items():
            self._sums[name] = self._sums.get(name, torch.zeros_like(value)) + value
        self._num_steps += 1
        self._unseen.append(losses)
        if len(self._unseen) >= _STEPS_BETWEEN_LOOKS:
            self._look()

    def means(self) -> dict[str, float]:
        """Average each loss over the steps.

        Raises:
            NotFiniteError: A loss of one of the last steps is not finite.
        """
        self._look()
        return {name: float(value) / self._num_steps for name, value in self._sums.items()}

    def _look(self) -> None:
        if not self._unseen:
            return
        rows = torch.stack([torch.stack(list(losses.values())) for losses in self._unseen])
        broken = (~rows.isfinite().all(dim=1)).nonzero()  # rows: steps x terms
        if len(broken) > 0:
            place = int(broken[0])
            step = self._num_steps - len(self._unseen) + place + 1
            losses = {name: float(value) for name, value in self._unseen[place].items()}
            raise NotFiniteError(f"epoch {self._epoch}, step {step}: {in_words(losses)}")
        self._unseen.clear()


def in_words(losses: dict[str, float]) -> str:
    """List losses with their names, for messages."""
    return ", ".join(f"{name} {value:g}" for name, value in losses.items())
