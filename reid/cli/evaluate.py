"""`reid evaluate`: how well does an encoder rank a dataset's gallery."""

from typing import TYPE_CHECKING

import typer

from reid.cli.options import (
    SHARED_OPTIONS,
    JsonOption,
    RerankOption,
    SameCameraOption,
    UseCamerasOption,
    takes_settings,
)
from reid.cli.render import render_evaluation, to_json
from reid.cli.wiring import wired

if TYPE_CHECKING:
    from reid.settings.loading import ResolvedSettings


@takes_settings(
    {
        **SHARED_OPTIONS,
        "rerank": RerankOption,
        "same_camera_rule": SameCameraOption,
        "use_cameras": UseCamerasOption,
    }
)
def evaluate(resolved: "ResolvedSettings", *, as_json: JsonOption = False) -> None:
    """Score a run's encoder, or any weights, on a dataset."""
    from reid.settings.trained import with_trained_encoder

    settings = with_trained_encoder(resolved)
    # A file says its own cameras; other weights get an embedding for each camera of the dataset.
    cameras = {"num_cameras": 0} if settings.encoder.has_weights_file else {}
    with wired(settings, **cameras) as container:
        outcome = container.evaluate().run()
    typer.echo(to_json(outcome) if as_json else render_evaluation(outcome))
