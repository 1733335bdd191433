"""`reid evaluate`: how well does an encoder rank a dataset's gallery."""

from typing import TYPE_CHECKING, Annotated

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
    from reid.container import Container
    from reid.settings.loading import ResolvedSettings

RecordOption = Annotated[
    bool,
    typer.Option(
        "--record/--no-record", help="Keep the scores of a run's encoder in the run's folder."
    ),
]


@takes_settings(
    {
        **SHARED_OPTIONS,
        "rerank": RerankOption,
        "same_camera_rule": SameCameraOption,
        "use_cameras": UseCamerasOption,
    }
)
def evaluate(
    resolved: "ResolvedSettings", *, record: RecordOption = True, as_json: JsonOption = False
) -> None:
    """Score a run's encoder, or any weights, on a dataset."""
    from reid.settings.trained import uses_run, with_trained_encoder

    settings = with_trained_encoder(resolved)
    # A file says its own cameras; other weights get an embedding for each camera of the dataset.
    cameras = {"num_cameras": 0} if settings.encoder.has_weights_file else {}
    with wired(settings, **cameras) as container:
        if record and uses_run(settings):
            _evaluate_and_record(container, as_json=as_json)
            return
        outcome = container.evaluate().run()
    typer.echo(to_json(outcome) if as_json else render_evaluation(outcome))


def _evaluate_and_record(container: "Container", *, as_json: bool) -> None:
    """Print before anything is written, so that a full disk costs no scores."""
    use_case, records = container.evaluate_run(), container.records()
    evaluated = use_case.run()
    outcome = evaluated.outcome
    typer.echo(to_json(outcome) if as_json else render_evaluation(outcome))
    name = use_case.name_for(evaluated, records)
    if name is not None:
        use_case.keep(evaluated, name=name)
        if not as_json:
            typer.echo(f"Recorded: {records.place}/{name}.json")
