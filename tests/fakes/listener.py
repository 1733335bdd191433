"""A listener that remembers, and what listeners are told of a run."""

from reid.domain.events import (
    CheckpointDamaged,
    CheckpointSaved,
    EpochFinished,
    Event,
    ImageCacheFilled,
    ImagesEmbedded,
    Stage,
    StageFinished,
    StageStarted,
    StepFinished,
)

A_RUN: tuple[Event, ...] = (
    ImagesEmbedded(subset="train", done=0, total=8),
    ImagesEmbedded(subset="train", done=4, total=8),
    ImagesEmbedded(subset="train", done=8, total=8),
    StageStarted(Stage.PROMPTS, first_epoch=2, num_epochs=3),
    StepFinished(Stage.PROMPTS, epoch=2, step=1, num_steps=1, num_images=8),
    EpochFinished(
        stage=Stage.PROMPTS,
        epoch=2,
        num_epochs=3,
        losses={"i2t": 1.0, "total": 2.0},
        learning_rate=3.5e-4,
        num_images=8,
    ),
    ImageCacheFilled(num_kept=7, num_bytes=2**20),
    CheckpointDamaged("prompts-state", epoch=1),
    CheckpointSaved("prompts-state", epoch=2),
    StageFinished(Stage.PROMPTS),
)


class RecordingListener:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event, /) -> None:
        self.events.append(event)
