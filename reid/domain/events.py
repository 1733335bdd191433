"""Progress of long work: a closed union of frozen records, numbers only.

Listeners keep the clocks: they compute rates and the time left.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias


class Stage(StrEnum):
    """The two training stages."""

    PROMPTS = "prompts"
    ENCODER = "encoder"


@dataclass(frozen=True, slots=True)
class StageStarted:
    """A training stage begins, or goes on after an interruption."""

    stage: Stage
    first_epoch: int
    """One-based; above 1 where the stage is resumed, above the last where it was finished."""
    num_epochs: int


@dataclass(frozen=True, slots=True)
class StepFinished:
    """One optimiser step is done."""

    stage: Stage
    epoch: int
    step: int  # one-based within the epoch
    num_steps: int
    num_images: int  # images in this step's batch


@dataclass(frozen=True, slots=True)
class EpochFinished:
    """One epoch is done."""

    stage: Stage
    epoch: int
    num_epochs: int
    losses: Mapping[str, float]
    """Mean of each loss term over the epoch's steps, and of the weighted total as `total`."""
    learning_rate: float
    num_images: int


@dataclass(frozen=True, slots=True)
class StageFinished:
    """A training stage is done."""

    stage: Stage


@dataclass(frozen=True, slots=True)
class ImagesEmbedded:
    """`done` images of a list have become vectors; 0 when the work begins."""

    subset: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class CheckpointSaved:
    """A checkpoint is safely on disk."""

    name: str
    epoch: int


@dataclass(frozen=True, slots=True)
class CheckpointDamaged:
    """The newest checkpoint of a name cannot be read: training continues from the one before."""

    name: str
    epoch: int  # of the one before


@dataclass(frozen=True, slots=True)
class ImageCacheFilled:
    """The memory for decoded images is full: other images are decoded whenever they are read."""

    num_kept: int
    num_bytes: int  # the budget


Event: TypeAlias = (
    StageStarted
    | StepFinished
    | EpochFinished
    | StageFinished
    | ImagesEmbedded
    | CheckpointSaved
    | CheckpointDamaged
    | ImageCacheFilled
)
