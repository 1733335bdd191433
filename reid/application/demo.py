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

DEMO = "demo"  # name of the record that the demo leaves in its run
NUM_QUERIES = 6  # approximate number of query images to identify, evenly spread over the list


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOutcome:
    """Scores before and after training, and some answers."""

    untrained: Evaluation
    trained: Evaluation
    identification: IdentificationOutcome


@dataclass(frozen=True, slots=True, kw_only=True)
class ShippedOutcome:
    """Scores of the encoder that comes with the program, and some of its answers."""

    evaluation: Evaluation
    identification: IdentificationOutcome


def run_demo(
    *,
    draw: Callable[[], object],
    train: Train,
    evaluate: Evaluate,
    identify: Identify,
    open_gallery: Callable[[], Gallery],
    open_images: Callable[[], tuple[ImageSource, ImageSource]],
    runs: RunStore,
) -> DemoOutcome:
    """Draw people, score an encoder, train it, score it again, and identify a few queries.

    The use cases share one encoder and one dataset, which `draw` makes. `open_gallery` opens an
    empty gallery, `open_images` the query and gallery images for `identify`. The outcome is
    recorded beside the training run.

    Raises:
        ReidError: As the use cases do.
    """
    draw()
    untrained = evaluate.run()[0]
    trained = train.run(TrainingRequest(overwrite=True)).evaluation
    if trained is None:
        raise EvaluationError("the training run was not evaluated")
    identification = _identify_few(identify, open_gallery=open_gallery, open_images=open_images)
    outcome = DemoOutcome(
        untrained=untrained,
        trained=trained,
        # Trained in place: the encoder still describes its initial weights.
        identification=replace(identification, encoder=trained.encoder, model=None),
    )
    runs.record(DEMO, cast("dict[str, JsonValue]", asdict(outcome)))
    return outcome


def try_shipped(
    *,
    evaluate: Evaluate,
    identify: Identify,
    open_gallery: Callable[[], Gallery],
    open_images: Callable[[], tuple[ImageSource, ImageSource]],
) -> ShippedOutcome:
    """Score the encoder that comes with the program on the demo's people, and identify a few.

    Raises:
        ReidError: As the use cases do.
    """
    return ShippedOutcome(
        evaluation=evaluate.run()[0],
        identification=_identify_few(identify, open_gallery=open_gallery, open_images=open_images),
    )


def _identify_few(
    identify: Identify,
    *,
    open_gallery: Callable[[], Gallery],
    open_images: Callable[[], tuple[ImageSource, ImageSource]],
) -> IdentificationOutcome:
    queries, gallery = open_images()
    listed = queries.images()
    few = select_images(queries, listed[:: max(1, len(listed) // NUM_QUERIES)])
    return identify.run_among(few, gallery, open_gallery=lambda _: open_gallery())
