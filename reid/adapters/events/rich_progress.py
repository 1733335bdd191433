"""Progress for a person at a terminal, on standard error."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self, assert_never

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


class RichProgress:
    """Shows a bar for the current work, on a terminal only, and a line for every finished epoch."""

    def __init__(
        self, *, console: Console | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Prepare the display, which the `with` block starts and ends."""
        self._console = console or Console(stderr=True, highlight=False)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[rate]}"),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._clock = clock
        self._task: TaskID | None = None
        self._subset: str | None = None
        self._began = 0.0
        self._images = 0
        self._epoch_began = 0.0

    def __enter__(self) -> Self:
        """Start the display."""
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Remove the bar."""
        self._progress.stop()

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
            case StageFinished():
                self._drop_task()
            case ImageCacheFilled() | CheckpointDamaged():
                self._line(_notice(event))
            case CheckpointSaved():
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
        if self._subset != event.subset or self._task is None:
            self._new_task(f"embedding {event.subset}", total=event.total)
            self._subset = event.subset
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
        self._task = self._progress.add_task(description, total=total, rate="")
        self._began, self._images = self._clock(), 0

    def _update(self, *, completed: int) -> None:
        if self._task is None:
            return
        seconds = self._clock() - self._began
        self._progress.update(self._task, completed=completed, rate=_rate(self._images, seconds))

    def _drop_task(self) -> None:
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._task, self._subset = None, None

    def _line(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)


def _notice(event: ImageCacheFilled | CheckpointDamaged) -> str:
    if isinstance(event, CheckpointDamaged):
        return (
            f"{event.name} is damaged: going on from the one saved before it, of epoch "
            f"{event.epoch}"
        )
    return (
        f"{event.num_kept} decoded images fill {event.num_bytes // 2**20} MiB: the others are "
        "decoded in every epoch; dataset.cache_mib gives them more"
    )


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _rate(num_images: int, seconds: float) -> str:
    rate = num_images / max(seconds, 1e-3)
    return f"{rate:.0f} images/s" if rate >= 10 else f"{rate:.1f} images/s"
