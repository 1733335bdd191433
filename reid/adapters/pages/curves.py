"""Learning curves as SVG."""

from collections.abc import Iterator, Sequence

from reid.adapters.pages.line_plots import Axis, Line, Panel, draw_panels, ticks
from reid.domain.values.results import StageCurves

TITLES = {"prompts": "Stage 1: prompts", "encoder": "Stage 2: encoder"}


def draw_curves(stages: Sequence[StageCurves]) -> str:
    """Draw a panel for each stage: losses over epochs, one line for each term.

    Args:
        stages: At least one, each with at least one epoch.

    Returns:
        An SVG document, the same for the same numbers.
    """
    return draw_panels([_panel(stage) for stage in stages])


def _panel(stage: StageCurves) -> Panel:
    values = [value for losses in stage.losses.values() for value in losses]
    marks = ticks(min(0.0, *values), max(1e-6, *values))
    last = max(stage.epochs[-1], 2)
    return Panel(
        title=TITLES.get(stage.stage, stage.stage),
        across=Axis(name="epoch", low=1, high=last, marks=tuple(_epoch_marks(last))),
        up=Axis(name="loss", low=marks[0], high=marks[-1], marks=marks),
        lines=[
            Line(name=term, points=list(zip(stage.epochs, losses, strict=True)))
            for term, losses in stage.losses.items()
        ],
    )


def _epoch_marks(last: int) -> Iterator[int]:
    """Give the first epoch and round ones up to the last."""
    yield 1
    yield from (int(mark) for mark in ticks(0, last) if mark == int(mark) and 1 < mark <= last)
