"""`reid calibrate`: choose the similarity below which a person is unknown."""

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reid.cli.options import (
    ENCODER_OPTIONS,
    JsonOption,
    argument,
    option,
    output_file,
    takes_settings,
)
from reid.cli.render import render_unreadable, table, to_json
from reid.container.checks import require_gallery, require_images
from reid.container.program import settings_to_answer, wired
from reid.domain.errors import ConfigurationError, DatasetError
from reid.domain.values.counts import counted

if TYPE_CHECKING:
    from reid.application.calibrate import CalibrationOutcome
    from reid.domain.values.open_set import OperatingPoint
    from reid.settings.loading import ResolvedSettings

_PNG = ".png"

QueriesArgument = Annotated[Path, argument("QUERY_DIR", "Folder or CSV of labelled images.")]
GalleryOption = Annotated[str, option("--gallery GALLERY", "The gallery to calibrate.")]
UnknownPeopleOption = Annotated[
    Path | None,
    option(
        "--unknown-people DIR",
        "Images of people who are not in the gallery; without it, half of the known people "
        "stand in for them.",
    ),
]
RateOption = Annotated[
    float, option("--false-accept-rate SHARE", "Largest share of unknown people who get a name.")
]
PlotOption = Annotated[
    Path | None,
    output_file("--plot FILE", "Plot the identification rate: FILE.svg or FILE.png.", ".svg", _PNG),
]


@takes_settings(*ENCODER_OPTIONS, "evaluation.use_cameras", "identify.fusion", "identify.tracklets")
def calibrate(
    resolved: "ResolvedSettings",
    *,
    queries: QueriesArgument,
    gallery: GalleryOption,
    non_mated: UnknownPeopleOption = None,
    false_accept_rate: RateOption = 0.01,
    plot: PlotOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find the similarity below which a person is unknown.

    The gallery stores this threshold; identify and serve use it from then on.
    """
    if plot is not None and not plot.parent.is_dir():
        raise ConfigurationError(f"--plot: {plot.parent} is not a folder; make it first")
    settings = settings_to_answer(resolved)
    require_images(queries, *([] if non_mated is None else [non_mated]))
    require_gallery(settings.gallery, gallery, otherwise=None)
    with wired(settings, num_cameras=0) as container:
        is_raster = plot is not None and plot.suffix.lower() == _PNG
        rasterise = container.rasteriser() if is_raster else None
        open_images = container.images()
        with closing(container.open_gallery(gallery, create=False)) as kept:
            outcome = container.calibrate().run(
                open_images(queries),
                kept,
                false_accept_rate=false_accept_rate,
                non_mated=None if non_mated is None else open_images(non_mated),
            )
        typer.echo(to_json(outcome) if as_json else render_calibration(outcome))
        if plot is not None:
            drawn = container.draw_open_set()({outcome.calibration.fusion: outcome.report})
            container.write_page()(plot, rasterise(drawn) if rasterise else drawn)
    if outcome.unreadable:
        raise DatasetError(render_unreadable(outcome.unreadable))


def render_calibration(outcome: "CalibrationOutcome") -> str:
    """Tabulate the open-set report, then describe the stored threshold."""
    report, calibration = outcome.report, outcome.calibration
    rows = [
        *(_row(point) for point in report.points),
        ("any answer counts", "100.0%", f"{report.rank_1:.1%}", "-"),
    ]
    lines = [
        table(("false-accept rate", "measured", "identification rate", "similarity from"), rows),
        "",
        f"{counted(report.num_known, 'query')} of known people and {report.num_unknown} of "
        f"unknown people, which resolve false-accept rates in steps of {report.resolution:.2g}",
    ]
    if outcome.num_unlabelled:
        lines.append(f"{counted(outcome.num_unlabelled, 'image')} without a label left out")
    if outcome.num_unmatched:
        lines.append(
            f"{counted(outcome.num_unmatched, 'query')} left out: the gallery has the person by "
            "the same camera only"
        )
    lines.append(
        f"Kept in {outcome.gallery}: unknown below {calibration.threshold:.4f} "
        f"(fusion {calibration.fusion}, false-accept rate {calibration.false_accept_rate:g})"
    )
    return "\n".join(lines)


def _row(point: "OperatingPoint") -> tuple[str, str, str, str]:
    rate = point.identification_rate
    return (
        f"{point.false_accept_rate:g}",
        f"{point.measured_false_accept_rate:.2%}",
        "too few unknown people" if rate is None else f"{rate:.1%}",
        "-" if rate is None else f"{point.threshold:.4f}",
    )
