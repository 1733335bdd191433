"""The whole job in minutes, on drawn people: what training changes, and what identify answers."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import cast

from reid.application.evaluate import Evaluate, Evaluation
from reid.application.identify import IdentificationOutcome, Identify
from reid.application.image_selection import ImageSelection
from reid.application.train import Train, TrainingRequest
from reid.domain.errors import EvaluationError
from reid.domain.services.gallery import Gallery
from reid.domain.values.checkpoints import JsonValue
from reid.ports.dataset import ImageSource
from reid.ports.runs import RunStore

DEMO = "demo"
"""Name of the record that the demo leaves in its run."""

NUM_QUERIES = 6
"""About so many query images are identified, evenly spread over the list."""


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
        """Keep the use cases; all of them share one encoder and one dataset.

        Args:
            draw: Makes the dataset.
            train: Trains the encoder in place.
            evaluate: Scores it.
            identify: Names people with it.
            open_gallery: Gives an empty gallery.
            open_images: Gives the query and gallery images for `identify`.
            runs: Keeps the outcome beside the training run.
        """
        self._draw = draw
        self._train = train
        self._evaluate = evaluate
        self._identify = identify
        self._open_gallery = open_gallery
        self._open_images = open_images
        self._runs = runs

    def run(self) -> DemoOutcome:
        """Do it all.

        Raises:
            ReidError: As the use cases do.
        """
        self._draw()
        untrained = self._evaluate.run()
        trained = self._train.run(TrainingRequest(overwrite=True)).evaluation
        if trained is None:
            raise EvaluationError("the training run was not evaluated")
        queries, gallery = self._open_images()
        listed = queries.images()
        few = ImageSelection(queries, listed[:: max(1, len(listed) // NUM_QUERIES)])
        identification = self._identify.run_among(
            few, gallery, open_gallery=lambda _: self._open_gallery()
        )
        outcome = DemoOutcome(
            untrained=untrained,
            trained=trained,
            # Trained in place: the encoder itself still tells of the weights that it began with.
            identification=replace(identification, encoder=trained.encoder),
        )
        self._runs.record(DEMO, cast("dict[str, JsonValue]", asdict(outcome)))
        return outcome
