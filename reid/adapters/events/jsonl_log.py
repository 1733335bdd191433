"""A run's metrics as JSON lines, one per epoch, for plots and other programs."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import assert_never

from reid.adapters.atomic_files import cannot_be_written
from reid.domain.events import (
    CheckpointDamaged,
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
        self._is_mended = False

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
            case CheckpointDamaged():
                self._write("checkpoint_damaged", name=event.name, epoch=event.epoch)
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
            if not self._is_mended:
                _cut_unfinished_line(self._path)
                self._is_mended = True
            with self._path.open("a") as file:
                file.write(line + "\n")
        except OSError as error:
            raise cannot_be_written(self._path, error) from error


def _cut_unfinished_line(path: Path) -> None:
    """Take away what a killed process or a full disk left of a last line."""
    if path.exists():
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(path, whole)
