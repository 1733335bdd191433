"""`reid train` and `reid demo`: train an encoder on a dataset, or on drawn people."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from reid.cli.answers import render_demo, render_shipped
from reid.cli.errors import saying_how_to_resume
from reid.cli.mentions import in_options
from reid.cli.options import DATASET_OPTIONS, JsonOption, argument, option, takes_settings
from reid.cli.render import render_dataset_table, render_training, to_json
from reid.container.checks import require_dataset
from reid.container.program import wired, with_shipped_encoder

if TYPE_CHECKING:
    from reid.application.demo import ShippedOutcome
    from reid.settings.loading import ResolvedSettings
    from reid.settings.schema import Settings

StageName = Literal["all", "prompts", "encoder", "1", "2"]
_NAME_OF_NUMBER = {"1": "prompts", "2": "encoder"}

StageOption = Annotated[
    StageName, option("--stage", "Both stages, or one of them: prompts (1), encoder (2).")
]
ResumeOption = Annotated[bool, option("--resume", "Resume an interrupted run in the same folder.")]
OverwriteOption = Annotated[
    bool, option("--overwrite", "Replace an earlier run in the same folder.")
]
FolderArgument = Annotated[
    Path, argument("DIR", "Folder for images and run; replaced if it exists.")
]


@takes_settings(
    *DATASET_OPTIONS,
    *("run.prompts", "run.parent", "evaluation.same_camera_rule", "dataset.skip_bad"),
)
def train(
    resolved: "ResolvedSettings",
    *,
    stage: StageOption = "all",
    resume: ResumeOption = False,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train an encoder on a dataset in two stages, then evaluate it."""
    require_dataset(resolved.settings.dataset)
    with wired(resolved.settings) as container, saying_how_to_resume(container):
        from reid.application.train import TrainingRequest, TrainingScope

        scope = TrainingScope(_NAME_OF_NUMBER.get(stage, stage))
        # Before the encoder is built, so that a wrong folder costs no download.
        statistics = container.statistics()
        if not as_json:
            typer.echo(render_dataset_table(statistics))
        for finding in container.odd_about_training():
            typer.echo(f"Warning: {in_options(finding)}", err=True)
        trained, evaluated = container.training_precision(), resolved.settings.encoder.precision
        typer.echo(f"Image encoder: trained in {trained}, evaluated in {evaluated}", err=True)
        outcome = container.train().run(
            TrainingRequest(scope=scope, resume=resume, overwrite=overwrite)
        )
    directory = resolved.settings.run.directory
    if as_json:
        typer.echo(to_json({"run": directory, "dataset": statistics, "outcome": outcome}))
    else:
        typer.echo(render_training(outcome, directory=directory))


@takes_settings("seed", usual_recipe="tiny")
def demo(
    resolved: "ResolvedSettings",
    *,
    folder: FolderArgument = Path("demo"),
    as_json: JsonOption = False,
) -> None:
    """Draw people, and identify them by a trained tiny encoder.

    Then the encoder that comes with the program identifies them, too.
    """
    settings = resolved.settings
    dataset = settings.dataset.model_copy(update={"root": folder / "data"})
    run = settings.run.model_copy(update={"directory": folder / "run"})
    settings = settings.model_copy(update={"dataset": dataset, "run": run})
    with wired(settings) as container:
        outcome = container.demo()
    if not as_json:
        typer.echo(render_demo(outcome, settings=settings))
    shipped = _try_shipped(settings)
    typer.echo(
        to_json({**asdict(outcome), "shipped": shipped}) if as_json else render_shipped(shipped)
    )


def _try_shipped(settings: "Settings") -> "ShippedOutcome | None":
    """Have the encoder that comes with the program answer; None where none does."""
    chosen = with_shipped_encoder(settings)
    if chosen is None:
        return None
    with wired(chosen, num_cameras=0) as container:
        outcome: ShippedOutcome = container.demo_of_shipped()
    return outcome
