"""`reid evaluate`: score how an encoder ranks a dataset's gallery."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reid.cli import render
from reid.cli.mentions import in_options
from reid.cli.options import DATASET_OPTIONS, HTML, JsonOption, option, output_file, takes_settings
from reid.container.checks import require_dataset
from reid.container.program import settings_to_answer, wired
from reid.domain.errors import ConfigurationError
from reid.domain.values.analyses import AnalysisRecipe, EvaluationAnalysis

if TYPE_CHECKING:
    from reid.application.evaluate import Evaluation
    from reid.container.root import Container
    from reid.domain.values.page_data import EvaluationPageData
    from reid.ports.pages import Page
    from reid.settings.loading import ResolvedSettings

RecordOption = Annotated[
    bool, option("--record/--no-record", "Store the scores of a run's encoder in the run's folder.")
]
ReportOption = Annotated[
    Path | None,
    output_file(
        "--report FILE.html",
        "Also write an HTML page: CMC, camera pairs, hardest queries, similarities, map.",
        *HTML,
    ),
]
PlotsOption = Annotated[
    Path | None,
    option(
        "--plots DIR",
        "Write the charts of that page as SVG, and as PNG with clip-reid[plots].",
        file_okay=False,
    ),
]


@takes_settings(
    *DATASET_OPTIONS,
    *("evaluation.rerank", "evaluation.same_camera_rule", "evaluation.use_cameras"),
    "dataset.skip_bad",
)
def evaluate(
    resolved: "ResolvedSettings",
    *,
    record: RecordOption = True,
    as_json: JsonOption = False,
    report: ReportOption = None,
    plots: PlotsOption = None,
) -> None:
    """Score a run's encoder, or any weights, on a dataset."""
    from reid.settings.loading import uses_run

    settings = settings_to_answer(resolved)
    require_dataset(settings.dataset, also=False)
    recipe = AnalysisRecipe() if report or plots else None
    # A file has its own cameras; other weights get an embedding for each camera of the dataset.
    cameras = {"num_cameras": 0} if settings.encoder.has_weights_file else {}
    with wired(settings, **cameras) as container:
        for finding in container.odd_about_scored():
            typer.echo(f"Warning: {in_options(finding)}", err=True)
        if record and uses_run(settings):
            evaluation, analysis = _evaluate_and_record(container, recipe=recipe, as_json=as_json)
        else:
            evaluation, _, analysis = container.evaluate().run(recipe=recipe)
            _echo(evaluation, as_json=as_json)
        if analysis is not None:
            for place in _show(container, evaluation, analysis, report=report, plots=plots):
                typer.echo(f"Wrote {place}", err=as_json)
            if not analysis.points:
                typer.echo(f"No map of a sample: {analysis.map_method}", err=True)


def _evaluate_and_record(
    container: "Container", *, recipe: AnalysisRecipe | None, as_json: bool
) -> tuple["Evaluation", EvaluationAnalysis | None]:
    """Print before writing, so that a full disk loses no scores."""
    from reid.application.evaluate import name_for

    use_case, records = container.evaluate_run(), container.records()
    evaluation, record, analysis = use_case.run(recipe=recipe)
    _echo(evaluation, as_json=as_json)
    name = name_for(record, records)
    if name is not None:
        use_case.keep(record, name=name)
        container.write_card()
        if not as_json:
            typer.echo(f"Recorded: {records.place}/{name}.json")
    return evaluation, analysis


def _echo(outcome: "Evaluation", *, as_json: bool) -> None:
    render.warn_if_untrained(outcome.encoder)
    if as_json and outcome.queries_in_gallery:
        typer.echo(render.render_itself(outcome.queries_in_gallery), err=True)
    typer.echo(render.to_json(outcome) if as_json else render.render_evaluation(outcome))


def _rasteriser(container: "Container") -> Callable[[str], bytes] | None:
    """Return None, with a note, if PNG files cannot be made: SVG files are written anyway."""
    try:
        return container.rasteriser()
    except ConfigurationError as missing:
        typer.echo(f"Charts as SVG only: {in_options(str(missing))}", err=True)
        return None


def _show(
    container: "Container",
    evaluation: "Evaluation",
    analysis: EvaluationAnalysis,
    *,
    report: Path | None,
    plots: Path | None,
) -> tuple[str, ...]:
    """Write the page and the charts; return their paths."""
    from reid.application.page_data import evaluation_page_data

    pages: list[Page[EvaluationPageData]] = [container.evaluation_page(report)] if report else []
    if plots:
        pages.append(container.chart_files(plots, rasterise=_rasteriser(container)))
    content = evaluation_page_data(
        evaluation.report,
        analysis,
        reader=container.dataset().reader,
        title=f"Evaluation on {evaluation.dataset}",
        notes=(
            *render.evaluation_notes(evaluation.report),
            render.encoder_line(evaluation.encoder),
        ),
    )
    return tuple(place for page in pages for place in page.write(content))
