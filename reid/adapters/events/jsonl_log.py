"""A run's metrics as JSON lines, one per epoch, for plots and other programs."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import assert_never

from reid.domain.errors import CheckpointError
from reid.domain.events import (
    CheckpointSaved,
    EpochFinished,
    Event,
    ImagesEmbedded,
    PictureCacheFilled,
    StageFinished,
    StageStarted,
    StepFinished,
)


class JsonlLog:
    """Appends to a file what later readers want: stages, epochs and checkpoints."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        """Keep the file's name; it is made at the first line."""
        self._path = path
        self._clock = clock
        self._epoch_began = 0.0

    def __call__(self, event: Event, /) -> None:
        """Write a line for what is worth one."""
        match event:
            case StageStarted():
                self._epoch_began = self._clock()
                self._write(
                    "stage_started",
                    stage=event.stage,
                    first_epoch=event.first_epoch,
                    num_epochs=event.num_epochs,
                )
            case EpochFinished():
                self._write_epoch(event)
            case CheckpointSaved():
                self._write("checkpoint_saved", name=event.name, epoch=event.epoch)
            case StageFinished():
                self._write("stage_finished", stage=event.stage)
            case PictureCacheFilled():
                self._write(
                    "picture_cache_filled", num_kept=event.num_kept, num_bytes=event.num_bytes
                )
            case StepFinished() | ImagesEmbedded():
                pass
            case _:
                assert_never(event)

    def _write_epoch(self, event: EpochFinished) -> None:
        now = self._clock()
        seconds, self._epoch_began = now - self._epoch_began, now
        self._write(
            "epoch_finished",
            stage=event.stage,
            epoch=event.epoch,
            num_epochs=event.num_epochs,
            losses=dict(event.losses),
            learning_rate=event.learning_rate,
            num_images=event.num_images,
            seconds=round(seconds, 3),
            images_per_second=round(event.num_images / seconds, 1) if seconds > 0 else None,
        )

    def _write(self, kind: str, **fields: object) -> None:
        line = json.dumps({"event": kind, "time": round(self._clock(), 3)} | fields)
        try:
            with self._path.open("a") as file:
                file.write(line + "\n")
        except OSError as error:
            raise CheckpointError(f"{self._path} cannot be written: {error.strerror}") from error
