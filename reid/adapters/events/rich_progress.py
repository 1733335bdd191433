"""Progress for a person at a terminal, on standard error."""

import time
from collections.abc import Callable
from typing import assert_never

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

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
from reid.domain.values.counts import counted

STAGE_TITLES = {
    Stage.PROMPTS: "Stage 1, prompt learning",
    Stage.ENCODER: "Stage 2, encoder fine-tuning",
}


class RichProgress(Progress):
    """Shows a bar for the current work, on a terminal only, and a line for every finished epoch."""

    def __init__(
        self, *, console: Console | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Prepare the display, which the `with` block starts and ends."""
        console = console or Console(stderr=True, highlight=False)
        super().__init__(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[rate]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._clock = clock
        self._task: TaskID | None = None
        self._began = 0.0
        self._images = 0
        self._epoch_began = 0.0

    def __call__(self, event: Event, /) -> None:
        """Show the event."""
        match event:
            case StageStarted():
                self._start_stage(event)
            case StepFinished():
                self._advance(event)
            case EpochFinished():
                self._finish_epoch(event)
            case ImagesEmbedded():
                self._embed(event)
            case ImageCacheFilled():
                self._line(
                    f"{event.num_kept} decoded images fill {event.num_bytes // 2**20} MiB: the "
                    "others are decoded in every epoch; dataset.cache_mib gives them more"
                )
            case CheckpointDamaged():
                self._line(
                    f"{event.name} is damaged: going on from the one saved before it, of epoch "
                    f"{event.epoch}"
                )
            case StageFinished() | CheckpointSaved():
                pass
            case _:
                assert_never(event)

    def _start_stage(self, event: StageStarted) -> None:
        resumed = f", going on at epoch {event.first_epoch}" if event.first_epoch > 1 else ""
        if event.first_epoch > event.num_epochs:
            resumed = ", finished earlier"
        self._line(f"{STAGE_TITLES[event.stage]}: {counted(event.num_epochs, 'epoch')}{resumed}")
        self._epoch_began = self._clock()

    def _advance(self, event: StepFinished) -> None:
        if event.step == 1:
            self._new_task(f"{event.stage} epoch {event.epoch}", total=event.num_steps)
        self._images += event.num_images
        self._update(completed=event.step)

    def _embed(self, event: ImagesEmbedded) -> None:
        if event.done == 0:
            self._new_task(f"embedding {event.subset}", total=event.total)
        self._images = event.done
        self._update(completed=event.done)
        if event.done == event.total:
            seconds = self._clock() - self._began
            self._drop_task()
            self._line(
                f"embedded {event.subset}: {counted(event.total, 'image')} in {_time(seconds)}, "
                f"{_rate(event.total, seconds)}"
            )

    def _finish_epoch(self, event: EpochFinished) -> None:
        now = self._clock()
        seconds, self._epoch_began = now - self._epoch_began, now
        self._drop_task()
        losses = "  ".join(f"{name} {value:.4f}" for name, value in event.losses.items())
        left = seconds * (event.num_epochs - event.epoch)
        self._line(
            f"epoch {event.epoch:>3}/{event.num_epochs}  {losses}  lr {event.learning_rate:.2e}  "
            f"{_rate(event.num_images, seconds)}  {_time(left)} left"
        )

    def _new_task(self, description: str, *, total: int) -> None:
        self._drop_task()
        self._task = self.add_task(description, total=total, rate="")
        self._began, self._images = self._clock(), 0

    def _update(self, *, completed: int) -> None:
        if self._task is not None:
            rate = _rate(self._images, self._clock() - self._began)
            self.update(self._task, completed=completed, rate=rate)

    def _drop_task(self) -> None:
        if self._task is not None:
            self.remove_task(self._task)
        self._task = None

    def _line(self, text: str) -> None:
        self.console.print(text, markup=False, soft_wrap=True)


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _rate(num_images: int, seconds: float) -> str:
    rate = num_images / max(seconds, 1e-3)
    return f"{rate:.0f} images/s" if rate >= 10 else f"{rate:.1f} images/s"
