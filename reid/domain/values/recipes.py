"""The constants of both training stages.

Defaults are the paper's for ViT-B/16 on person datasets (Li et al. 2023, arXiv:2211.13977,
section 4.1, and the authors' configuration files).
"""

from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

Schedule: TypeAlias = Literal["steps", "cosine"]
"""How stage 2's learning rate falls."""

Sampling: TypeAlias = Literal["identities", "cameras"]
"""What decides which of an identity's pictures stand together in a PK batch."""


def _require(*, condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptLearningRecipe:
    """Stage 1: four tokens per identity, both encoders frozen."""

    epochs: int = 120
    batch_size: int = 64
    learning_rate: float = 3.5e-4
    warmup_learning_rate: float = 1e-5
    """Where the linear warm-up starts."""

    minimum_learning_rate: float = 1e-6
    """Where the cosine ends, and the rate of the last epoch."""

    warmup_epochs: int = 5
    weight_decay: float = 1e-4
    """L2 added to the gradient (Adam, not AdamW)."""

    num_context_tokens: int = 4
    template: str = "A photo of a {} person."
    """`{}` stands where the learned tokens go."""

    def __post_init__(self) -> None:
        """Refuse values with which training cannot run."""
        _require(condition=self.epochs >= 1, message="epochs must be at least 1")
        _require(
            condition=self.batch_size >= 2,
            message="batch_size must be at least 2: the contrastive losses need a negative",
        )
        _require(condition=self.learning_rate > 0, message="learning_rate must be positive")
        _require(
            condition=self.warmup_learning_rate >= 0,
            message="warmup_learning_rate must not be negative",
        )
        _require(
            condition=self.minimum_learning_rate >= 0,
            message="minimum_learning_rate must not be negative",
        )
        _require(condition=self.warmup_epochs >= 0, message="warmup_epochs must not be negative")
        _require(condition=self.weight_decay >= 0, message="weight_decay must not be negative")
        _require(
            condition=self.num_context_tokens >= 1, message="num_context_tokens must be at least 1"
        )
        _require(
            condition=self.template.count("{}") == 1, message="template must hold {} exactly once"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FineTuningRecipe:
    """Stage 2: the image encoder and its heads, prompts and text encoder frozen."""

    epochs: int = 60
    identities_per_batch: int = 16
    """P of the PK batch."""

    images_per_identity: int = 4
    """K of the PK batch."""

    sampling: Sampling = "identities"
    """`identities` draws an identity's K pictures by chance alone; `cameras` spreads its cameras
    over them first."""

    learning_rate: float = 5e-6
    bias_learning_rate_factor: float = 2.0
    """Biases learn this much faster (BoT, Luo et al. 2019)."""

    weight_decay: float = 1e-4
    """L2 added to the gradient of every parameter, biases and norms included."""

    warmup_epochs: int = 10
    warmup_factor: float = 0.1
    """The warm-up starts near this share of the learning rate."""

    milestones: tuple[int, ...] = (30, 50)
    """Epochs at which the learning rate is multiplied by `decay_factor`."""

    decay_factor: float = 0.1
    schedule: Schedule = "steps"
    """`steps` falls at the milestones; `cosine` falls smoothly to nearly 0 after the warm-up."""

    largest_gradient: float = 0.0
    """L2 norm of all gradients together to which larger ones are cut; 0: never."""

    weight_averaging: float = 0.0
    """Decay per step of a moving average of the weights, with which the stage ends; 0: none."""

    identity_weight: float = 0.25
    triplet_weight: float = 1.0
    image_to_text_weight: float = 1.0
    triplet_margin: float = 0.3
    """Euclidean distance between hardest positive and hardest negative."""

    label_smoothing: float = 0.1
    losses: dict[str, float] = field(default_factory=dict)
    """Weights of further losses by their names in the group `reid.losses`, each summed over the
    three feature levels as the triplet loss is; empty: the paper's objective."""

    flip_probability: float = 0.5
    padding: int = 10
    """Black pixels added to each side before the random crop."""

    erasing_probability: float = 0.5
    patching_probability: float = 0.0
    """Chance that a box of a picture shows a box of another picture of the batch."""

    recolouring_probability: float = 0.0
    recolouring_strength: float = 0.3
    """Brightness, contrast and saturation each change by a factor within 1 +- this."""

    def __post_init__(self) -> None:
        """Refuse values with which training cannot run."""
        _require(condition=self.epochs >= 1, message="epochs must be at least 1")
        _require(
            condition=self.identities_per_batch >= 2,
            message="identities_per_batch must be at least 2: the triplet loss needs a negative",
        )
        _require(
            condition=self.images_per_identity >= 2,
            message="images_per_identity must be at least 2: the triplet loss needs a positive",
        )
        _require(
            condition=self.sampling in get_args(Sampling),
            message=f"sampling must be one of {', '.join(get_args(Sampling))}",
        )
        _require(condition=self.learning_rate > 0, message="learning_rate must be positive")
        _require(
            condition=self.bias_learning_rate_factor > 0,
            message="bias_learning_rate_factor must be positive",
        )
        _require(condition=self.weight_decay >= 0, message="weight_decay must not be negative")
        _require(condition=self.warmup_epochs >= 0, message="warmup_epochs must not be negative")
        _require(
            condition=0 < self.warmup_factor <= 1, message="warmup_factor must be within (0, 1]"
        )
        _require(
            condition=list(self.milestones) == sorted(self.milestones),
            message="milestones must ascend",
        )
        _require(condition=self.decay_factor > 0, message="decay_factor must be positive")
        _require(
            condition=self.schedule in get_args(Schedule),
            message=f"schedule must be one of {', '.join(get_args(Schedule))}",
        )
        _require(
            condition=self.largest_gradient >= 0, message="largest_gradient must not be negative"
        )
        _require(
            condition=0 <= self.weight_averaging < 1,
            message="weight_averaging must be within [0, 1)",
        )
        for name in ("identity_weight", "triplet_weight", "image_to_text_weight"):
            _require(condition=getattr(self, name) >= 0, message=f"{name} must not be negative")
        _require(condition=self.triplet_margin >= 0, message="triplet_margin must not be negative")
        _require(
            condition=0 <= self.label_smoothing < 1, message="label_smoothing must be within [0, 1)"
        )
        for name in (
            "flip_probability",
            "erasing_probability",
            "patching_probability",
            "recolouring_probability",
            "recolouring_strength",
        ):
            _require(
                condition=0 <= getattr(self, name) <= 1, message=f"{name} must be within [0, 1]"
            )
        _require(condition=self.padding >= 0, message="padding must not be negative")

    @property
    def batch_size(self) -> int:
        """Pictures in a PK batch."""
        return self.identities_per_batch * self.images_per_identity


@dataclass(frozen=True, slots=True, kw_only=True)
class RerankingRecipe:
    """k-reciprocal re-ranking (Zhong et al. 2017, arXiv:1701.08398)."""

    k1: int = 20
    """Neighbours that must be reciprocal."""

    k2: int = 6
    """Neighbours over which the encoding is averaged."""

    original_weight: float = 0.3
    """Lambda: share of the original distance in the final one."""

    def __post_init__(self) -> None:
        """Refuse values outside the method's domain."""
        _require(condition=self.k1 >= 1, message="k1 must be at least 1")
        _require(condition=1 <= self.k2 <= self.k1, message="k2 must be within 1..k1")
        _require(
            condition=0 <= self.original_weight <= 1,
            message="original_weight must be within [0, 1]",
        )
