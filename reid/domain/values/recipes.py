"""The constants of both training stages.

Defaults are the paper's for ViT-B/16 on person datasets (Li et al. 2023, arXiv:2211.13977, section
4.1, and the authors' configuration files).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias, get_args

Schedule: TypeAlias = Literal["steps", "cosine"]  # how stage 2's learning rate falls
Sampling: TypeAlias = Literal["identities", "cameras"]
"""What decides which of an identity's images stand together in a PK batch."""


class _Range(NamedTuple):
    """Admitted values of a constant."""

    words: str
    holds: Callable[[float], bool]

    def require(self, recipe: object, *names: str) -> None:
        """Raise a ValueError that names the first of these constants outside the range."""
        for name in names:
            if not self.holds(getattr(recipe, name)):
                raise ValueError(f"{name} must {self.words}")


_POSITIVE = _Range("be positive", lambda value: value > 0)
_NOT_NEGATIVE = _Range("not be negative", lambda value: value >= 0)
_AT_LEAST_1 = _Range("be at least 1", lambda value: value >= 1)
_SHARE = _Range("be within [0, 1]", lambda value: 0 <= value <= 1)
_BELOW_1 = _Range("be within [0, 1)", lambda value: 0 <= value < 1)


def _at_least_2(reason: str) -> _Range:
    return _Range(f"be at least 2: {reason}", lambda value: value >= 2)


def _require_one_of(name: str, value: str, known: object) -> None:
    if value not in get_args(known):
        raise ValueError(f"{name} must be one of {', '.join(get_args(known))}")


def _require_pattern(name: str, pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{name} holds {pattern!r}, no regular expression: {error}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptLearningRecipe:
    """Stage 1: four tokens per identity, both encoders frozen."""

    epochs: int = 120
    batch_size: int = 64
    learning_rate: float = 3.5e-4
    warmup_learning_rate: float = 1e-5  # where the linear warm-up starts
    minimum_learning_rate: float = 1e-6  # where the cosine ends, and the rate of the last epoch
    warmup_epochs: int = 5
    weight_decay: float = 1e-4  # L2 added to the gradient (Adam, not AdamW)
    num_context_tokens: int = 4
    template: str = "A photo of a {} person."  # `{}` stands where the learned tokens go

    def __post_init__(self) -> None:
        """Refuse values with which training cannot run."""
        _AT_LEAST_1.require(self, "epochs", "num_context_tokens")
        _at_least_2("the contrastive losses need a negative").require(self, "batch_size")
        _POSITIVE.require(self, "learning_rate")
        _NOT_NEGATIVE.require(
            self, "warmup_learning_rate", "minimum_learning_rate", "warmup_epochs", "weight_decay"
        )
        if self.template.count("{}") != 1:
            raise ValueError("template must hold {} exactly once")


@dataclass(frozen=True, slots=True, kw_only=True)
class FineTuningRecipe:
    """Stage 2: the image encoder and its heads, prompts and text encoder frozen."""

    epochs: int = 60
    identities_per_batch: int = 16  # P of the PK batch
    images_per_identity: int = 4  # K of the PK batch
    sampling: Sampling = "identities"
    """`identities` draws an identity's K images by chance alone; `cameras` spreads its cameras over
    them first."""
    learning_rate: float = 5e-6
    bias_learning_rate_factor: float = 2.0  # biases learn this much faster (BoT, Luo et al. 2019)
    weight_decay: float = 1e-4
    """L2 added to the gradient of every parameter, biases and norms included."""
    warmup_epochs: int = 10
    warmup_factor: float = 0.1  # the warm-up starts near this share of the learning rate
    milestones: tuple[int, ...] = (30, 50)
    """Epochs at which the learning rate is multiplied by `decay_factor`."""
    decay_factor: float = 0.1
    schedule: Schedule = "steps"
    """`steps` falls at the milestones; `cosine` falls smoothly to nearly 0 after the warm-up."""
    frozen: tuple[str, ...] = ()
    """Patterns (regular expressions) of names of the image tower's parameters that stay as they
    are, such as `blocks.[012]`; empty: all learn. Running statistics of frozen normalisations still
    follow the batches."""
    max_grad_norm: float = 0.0
    """L2 norm of all gradients together to which larger ones are cut; 0: never."""
    ema_decay: float = 0.0
    """Decay per step of a moving average of the weights, with which the stage ends; 0: none."""
    identity_weight: float = 0.25
    triplet_weight: float = 1.0
    image_to_text_weight: float = 1.0
    triplet_margin: float = 0.3  # Euclidean distance between hardest positive and hardest negative
    label_smoothing: float = 0.1
    distillation_weight: float = 1.0
    """Of 1 - cos between a teacher's descriptors and the encoder's, mapped linearly to its width;
    read where a teacher is named, as the next two."""
    neighbour_distillation_weight: float = 1.0
    """Of the divergence between the teacher's and the encoder's similarities in a batch."""
    distillation_temperature: float = 0.1
    losses: dict[str, float] = field(default_factory=dict)
    """Weights of further losses by their names in the group `reid.losses`, each summed over the
    three feature levels as the triplet loss is; empty: the paper's objective."""
    flip_probability: float = 0.5
    random_crop_padding: int = 10  # black pixels added to each side before the random crop
    erasing_probability: float = 0.5
    random_patch_probability: float = 0.0
    """Chance that a box of an image shows a box of another image of the batch."""
    color_jitter_probability: float = 0.0
    color_jitter_strength: float = 0.3
    """Brightness, contrast and saturation each change by a factor within 1 +- this."""

    def __post_init__(self) -> None:
        """Refuse values with which training cannot run."""
        _AT_LEAST_1.require(self, "epochs")
        _at_least_2("the triplet loss needs a negative").require(self, "identities_per_batch")
        _at_least_2("the triplet loss needs a positive").require(self, "images_per_identity")
        _require_one_of("sampling", self.sampling, Sampling)
        _require_one_of("schedule", self.schedule, Schedule)
        _POSITIVE.require(self, "learning_rate", "bias_learning_rate_factor", "decay_factor")
        _POSITIVE.require(self, "distillation_temperature")
        _NOT_NEGATIVE.require(
            self, "weight_decay", "warmup_epochs", "max_grad_norm", "random_crop_padding"
        )
        _NOT_NEGATIVE.require(self, "identity_weight", "triplet_weight", "image_to_text_weight")
        _NOT_NEGATIVE.require(
            self, "triplet_margin", "distillation_weight", "neighbour_distillation_weight"
        )
        _Range("be within (0, 1]", lambda value: 0 < value <= 1).require(self, "warmup_factor")
        _BELOW_1.require(self, "ema_decay", "label_smoothing")
        _SHARE.require(self, "flip_probability", "erasing_probability", "random_patch_probability")
        _SHARE.require(self, "color_jitter_probability", "color_jitter_strength")
        for pattern in self.frozen:
            _require_pattern("frozen", pattern)
        if list(self.milestones) != sorted(self.milestones):
            raise ValueError("milestones must ascend")

    @property
    def batch_size(self) -> int:
        """Images in a PK batch."""
        return self.identities_per_batch * self.images_per_identity


@dataclass(frozen=True, slots=True, kw_only=True)
class RerankingRecipe:
    """k-reciprocal re-ranking (Zhong et al. 2017, arXiv:1701.08398)."""

    k1: int = 20  # neighbours that must be reciprocal
    k2: int = 6  # neighbours over which the encoding is averaged
    original_weight: float = 0.3  # Lambda: share of the original distance in the final one

    def __post_init__(self) -> None:
        """Refuse values outside the method's domain."""
        _AT_LEAST_1.require(self, "k1")
        _SHARE.require(self, "original_weight")
        if not 1 <= self.k2 <= self.k1:
            raise ValueError("k2 must be within 1..k1")
