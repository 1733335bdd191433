"""The whole job in minutes, on drawn people: score, train, score again, identify."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import cast

from reid.application.evaluate import Evaluate, Evaluation
from reid.application.identify import IdentificationOutcome, Identify
from reid.application.train import Train, TrainingRequest
from reid.domain.errors import EvaluationError
from reid.domain.services.gallery import Gallery
from reid.domain.services.lists import select_images
from reid.domain.values.checkpoints import JsonValue
from reid.ports.dataset import ImageSource
from reid.ports.runs import RunStore

DEMO = "demo"
"""Name of the record that the demo leaves in its run."""

NUM_QUERIES = 6
"""Approximate number of query images to identify, evenly spread over the list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOutcome:
    """Scores before and after training, and some answers."""

    untrained: Evaluation
    trained: Evaluation
    identification: IdentificationOutcome


class Demo:
    """Draws people, scores an encoder, trains it, scores it again, and identifies a few queries."""

    def __init__(
        self,
        *,
        draw: Callable[[], None],
        train: Train,
        evaluate: Evaluate,
        identify: Identify,
        open_gallery: Callable[[], Gallery],
        open_images: Callable[[], tuple[ImageSource, ImageSource]],
        runs: RunStore,
    ) -> None:
        """Keep the use cases, which share one encoder and one dataset.

        `draw` makes the dataset, `open_gallery` an empty gallery, `open_images` the query and
        gallery images for `identify`; the outcome is recorded beside the training run.
        """
        self._draw = draw
        self._train = train
        self._evaluate = evaluate
        self._identify = identify
        self._open_gallery = open_gallery
        self._open_images = open_images
        self._runs = runs

    def run(self) -> DemoOutcome:
        """Run the whole demo.

        Raises:
            ReidError: As the use cases do.
        """
        self._draw()
        untrained = self._evaluate.run()[0]
        trained = self._train.run(TrainingRequest(overwrite=True)).evaluation
        if trained is None:
            raise EvaluationError("the training run was not evaluated")
        queries, gallery = self._open_images()
        listed = queries.images()
        few = select_images(queries, listed[:: max(1, len(listed) // NUM_QUERIES)])
        identification = self._identify.run_among(
            few, gallery, open_gallery=lambda _: self._open_gallery()
        )
        outcome = DemoOutcome(
            untrained=untrained,
            trained=trained,
            # Trained in place: the encoder still describes its initial weights.
            identification=replace(identification, encoder=trained.encoder),
        )
        self._runs.record(DEMO, cast("dict[str, JsonValue]", asdict(outcome)))
        return outcome
