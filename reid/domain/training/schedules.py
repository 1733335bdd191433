"""Learning rates as functions of the one-based epoch, constant within an epoch."""

import math
from bisect import bisect_right

from reid.domain.values.recipes import FineTuningRecipe, PromptLearningRecipe


def prompt_learning_rate(epoch: int, recipe: PromptLearningRecipe) -> float:
    """Compute the learning rate of a stage-1 epoch: linear warm-up, then half a cosine.

    Loshchilov & Hutter 2017, arXiv:1608.03983, eq. 5, one cycle without restart. As in CLIP-ReID
    the cosine's phase is epoch / epochs and does not start again after the warm-up.
    """
    base, minimum = recipe.learning_rate, recipe.minimum_learning_rate
    if epoch < recipe.warmup_epochs:
        first = recipe.warmup_learning_rate
        return first + epoch * ((base - first) / recipe.warmup_epochs)
    if epoch >= recipe.epochs:
        return minimum
    return minimum + 0.5 * (base - minimum) * (1 + math.cos(math.pi * epoch / recipe.epochs))


def fine_tuning_rate(epoch: int, recipe: FineTuningRecipe) -> float:
    """Compute the rate of a stage-2 epoch: linear warm-up, then steps down or half a cosine.

    Steps: Luo et al. 2019, arXiv:1903.07071, eq. 1. The first reduced epoch is the milestone
    itself. Cosine: Loshchilov & Hutter 2017, arXiv:1608.03983, eq. 5, over the epochs after the
    warm-up; it would reach 0 in the epoch after the last. Biases learn at
    `bias_learning_rate_factor` times this rate.
    """
    warmup = 1.0
    if epoch < recipe.warmup_epochs:
        done = epoch / recipe.warmup_epochs
        warmup = recipe.warmup_factor * (1 - done) + done
    return recipe.learning_rate * warmup * _fallen_to(epoch, recipe)


def _fallen_to(epoch: int, recipe: FineTuningRecipe) -> float:
    """Compute the share of the base rate that the schedule leaves, apart from the warm-up."""
    if recipe.schedule == "steps":
        return recipe.decay_factor ** bisect_right(recipe.milestones, epoch)
    num_falling = max(1, recipe.epochs + 1 - recipe.warmup_epochs)
    phase = max(0, epoch - recipe.warmup_epochs) / num_falling
    return 0.5 * (1 + math.cos(math.pi * phase))
