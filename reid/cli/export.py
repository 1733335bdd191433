"""`reid export`: write an encoder for another runtime, or its weights alone to be shared."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from reid.cli.options import JsonOption, argument, option, takes_settings
from reid.cli.render import encoder_line, to_json
from reid.container.program import settings_to_answer, wired

if TYPE_CHECKING:
    from reid.application.export import ExportOutcome, ScoreLoss
    from reid.settings.loading import ResolvedSettings

Format = Literal["openvino", "onnx", "safetensors"]
Precision = Literal["fp32", "bf16", "fp16", "int8"]

FolderArgument = Annotated[Path, argument("OUT", "Folder or file to create; use it as --weights.")]
FormatOption = Annotated[
    Format,
    option("--format", "Runtime to export for; safetensors: the weights alone, in one file."),
]
PrecisionOption = Annotated[
    Precision,
    option(
        "--precision",
        "bf16, int8: computed so, by openvino; fp16: stored so, as safetensors.",
    ),
]
MaxErrorOption = Annotated[
    float | None,
    option(
        "--max-error X",
        "Largest 1 - cos to the original, mean removed [fp32: 1e-6, fp16: 1e-4, bf16: 1e-2, "
        "int8: 5e-2].",
        min=0.0,
    ),
]
OverwriteOption = Annotated[bool, option("--overwrite", "Replace an earlier export.")]


@takes_settings(
    *("recipe", "encoder.kind", "encoder.weights", "seed", "run.directory"),
    *("export.calibration", "dataset.kind", "dataset.root"),
)
def export(
    resolved: "ResolvedSettings",
    *,
    folder: FolderArgument,
    form: FormatOption = "openvino",
    precision: PrecisionOption = "fp32",
    max_error: MaxErrorOption = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Export the encoder to a faster runtime, or its weights alone.

    The export is compared with the original, and rejected if it deviates; one in int8, which needs
    images to calibrate on, by its scores where a dataset is named.
    """
    with wired(settings_to_answer(resolved), num_cameras=0) as container:
        place = container.export_place(folder, form, precision=precision, overwrite=overwrite)
        outcome = container.export(precision=precision).run(place, max_error=max_error)
    typer.echo(to_json(outcome) if as_json else _render(outcome, folder=folder))


def _render(outcome: "ExportOutcome", *, folder: Path) -> str:
    return "\n".join(
        [
            encoder_line(outcome.encoder),
            *(
                f"Numerical error in batches of {size}: {found.angle:.1e} (1 - cos, mean removed), "
                f"{found.relative:.1e} of the largest entry"
                for size, found in outcome.deviations.items()
            ),
            *([] if outcome.max_error is None else [f"Allowed: {outcome.max_error:.1e}"]),
            *([] if outcome.scores is None else _score_lines(outcome.scores)),
            f"Use it: reid evaluate --weights {folder}",
        ]
    )


def _score_lines(scores: "ScoreLoss") -> list[str]:
    return [
        f"mAP: {scores.map_before:.2f}%, exported {scores.map_after:.2f}%",
        f"Rank-1: {scores.rank_1_before:.2f}%, exported {scores.rank_1_after:.2f}%",
        f"Allowed: {scores.max_loss:g} points less",
    ]
