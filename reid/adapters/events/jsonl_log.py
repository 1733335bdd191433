"""A run's metrics as JSON lines, one per epoch, for plots and other programs."""

import json
import os
import re
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import assert_never

from reid.adapters.atomic_files import cannot_be_written
from reid.domain.events import (
    CheckpointDamaged,
    CheckpointSaved,
    EpochFinished,
    Event,
    ImageCacheFilled,
    ImagesEmbedded,
    StageFinished,
    StageStarted,
    StepFinished,
)


class JsonlLog:
    """Appends stages, epochs and checkpoints to a file."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        """Keep the file's name; it is made at the first line."""
        self._path = path
        self._clock = clock
        self._epoch_began = 0.0
        self._is_mended = False

    def __call__(self, event: Event, /) -> None:
        """Write a line with the event's kind, time and fields; steps are not logged."""
        further: dict[str, object] = {}
        match event:
            case StepFinished() | ImagesEmbedded():
                return
            case StageStarted():
                self._epoch_began = self._clock()
            case EpochFinished():
                now = self._clock()
                seconds, self._epoch_began = now - self._epoch_began, now
                rate = round(event.num_images / seconds, 1) if seconds > 0 else None
                further = {"seconds": round(seconds, 3), "images_per_second": rate}
            case StageFinished() | CheckpointSaved() | CheckpointDamaged() | ImageCacheFilled():
                pass
            case _:
                assert_never(event)
        kind = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(event).__name__).lower()
        now = round(self._clock(), 3)
        line = json.dumps({"event": kind, "time": now, **asdict(event), **further})
        try:
            if not self._is_mended:
                _cut_unfinished_line(self._path)
                self._is_mended = True
            with self._path.open("a") as file:
                file.write(line + "\n")
        except OSError as error:
            raise cannot_be_written(self._path, error) from error


def _cut_unfinished_line(path: Path) -> None:
    """Remove an incomplete last line that a killed process or a full disk left."""
    if path.exists():
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(path, whole)
