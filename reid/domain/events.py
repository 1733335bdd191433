"""What long work tells of its progress: a closed union of frozen records, numbers only.

Clocks belong to the listeners: rates and time left are theirs to work out.
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
    step: int
    """One-based within the epoch."""

    num_steps: int
    num_images: int
    """Images in this step's batch."""


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
    """So many images of a list have become vectors; zero when the work begins."""

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
    """The newest checkpoint of a name cannot be read: the one before it is gone on from."""

    name: str
    epoch: int
    """Of the one before."""


@dataclass(frozen=True, slots=True)
class ImageCacheFilled:
    """No more decoded images fit in memory: the others are decoded whenever they are read."""

    num_kept: int
    num_bytes: int
    """The budget."""


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
