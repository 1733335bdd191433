"""Options that set a setting, each declared once, and options that many commands share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import update_wrapper
from inspect import Parameter, Signature, signature
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Final, TypeAlias

import typer

from reid.cli.mentions import mentioning

Command: TypeAlias = Callable[..., None]
_NAMED = Parameter.KEYWORD_ONLY

HTML = (".html", ".htm")


def argument(metavar: str, text: str) -> Any:  # noqa: ANN401  (as Typer declares it)
    """Describe a positional argument."""
    return typer.Argument(metavar=metavar, help=text)


def option(usage: str, text: str, **checks: Any) -> Any:  # noqa: ANN401  (as Typer declares it)
    """Describe an option by its usage: `--label LABEL`, `--output -o FILE`, `--clear`."""
    words = usage.split()
    flags = [word for word in words if word.startswith("-")]
    return typer.Option(*flags, metavar=" ".join(words[len(flags) :]) or None, help=text, **checks)


def output_file(usage: str, text: str, *endings: str) -> Any:  # noqa: ANN401  (as `option`)
    """Describe a file to write; the endings keep a slip from replacing one of another kind."""

    def checked(path: Path | None) -> Path | None:
        if path is not None and path.suffix.lower() not in endings:
            raise typer.BadParameter(f"{path} should end in {' or '.join(endings)}")
        return path

    return option(usage, text, dir_okay=False, callback=checked)


JsonOption = Annotated[bool, option("--json", "Print JSON instead of a table.")]
_SHARED = {
    "config": Annotated[
        Path | None, option("--config FILE", "TOML file with settings [REID_CONFIG_FILE].")
    ],
    "assignments": Annotated[
        list[str] | None, option("--set SECTION.KEY=VALUE", "Any setting; may be repeated.")
    ],
}


@dataclass(frozen=True, slots=True)
class Option:
    """An option that sets a setting."""

    usage: str  # `--data ROOT`, or `--rerank/--no-rerank`
    help: str
    kind: Any = str  # type of the value, unless it is a switch

    @property
    def flags(self) -> str:
        """`--data`, or `--rerank/--no-rerank`."""
        return self.usage.split()[0]

    @property
    def annotation(self) -> Any:  # noqa: ANN401  (an annotation can be anything)
        """The annotated type of a command's parameter."""
        kind = bool if "/" in self.usage else self.kind
        return Annotated[kind | None, option(self.usage, self.help)]


SETTING_OPTIONS: Final[Mapping[str, Option]] = {
    "recipe": Option(
        "--recipe NAME",
        "Defaults to start from: vit-b16, vit-b16-sie-olp, rn50, tiny, scratch-cpu, scratch-rn50 "
        "or scratch-vit-b16.",
    ),
    "encoder.kind": Option(
        "--encoder KIND", "rn50, vit-b16, rn-tiny, vit-tiny, timm:NAME or a plug-in."
    ),
    "encoder.weights": Option(
        "--weights FILE", "A file, a name of `reid models list`, openai or random."
    ),
    "dataset.kind": Option(
        "--dataset KIND", "market1501, msmt17, dukemtmc, cuhk03, viper, csv or a plug-in."
    ),
    "dataset.root": Option("--data ROOT", "Folder (or CSV) of the dataset.", kind=Path),
    "dataset.skip_bad": Option(
        "--skip-bad/--no-skip-bad",
        "List and leave out images that cannot be read, instead of failing.",
    ),
    "export.calibration": Option(
        "--calibration IMAGES", "Folder or CSV of images to calibrate int8 on.", kind=Path
    ),
    "index.kind": Option("--index KIND", "exact, annoy, hnsw or a plug-in."),
    "seed": Option("--seed N", "Seed of everything random.", kind=int),
    "device": Option("--device NAME", "auto, cpu, cuda, cuda:N or mps."),
    "run.directory": Option("--run DIR", "Folder of the training run.", kind=Path),
    "run.prompts": Option("--prompts DIR", "Run whose prompts stage 2 starts from.", kind=Path),
    "run.parent": Option("--parent DIR", "Finished run that stage 2 goes on from.", kind=Path),
    "identify.top_k": Option("--top-k N", "Gallery images shown per answer.", kind=int),
    "evaluation.rerank": Option("--rerank/--no-rerank", "Re-rank by k-reciprocal neighbours."),
    "identify.rerank": Option("--rerank/--no-rerank", "Re-rank by k-reciprocal neighbours."),
    "evaluation.same_camera_rule": Option(
        "--same-camera-rule/--no-same-camera-rule",
        "Leave out gallery images of the query's own person and camera.",
    ),
    "evaluation.use_cameras": Option(
        "--cameras/--no-cameras", "Use the images' cameras where the encoder has camera embeddings."
    ),
    "gallery.use_cache": Option(
        "--cache/--no-cache", "Cache the vectors of a gallery that is a plain folder or list."
    ),
    "gallery.expire_after": Option(
        "--expire-after TIME",
        "How long to keep the images: 12h, 30d, 8w; `reid gallery check` then erases them.",
    ),
    "gallery.thumbnails": Option(
        "--thumbnails/--no-thumbnails", "Keep a small JPEG of each image."
    ),
    "identify.fusion": Option(
        "--fusion NAME",
        "Similarity of a person: of the best image (best), the mean image (mean), or by a vote of "
        "the nearest images (vote).",
    ),
    "identify.unknown": Option(
        "--unknown SIMILARITY",
        "Reject matches below this similarity: a number, auto (as calibrated) or off.",
    ),
    "identify.seen_by": Option(
        "--seen-by CAMERA",
        "Search only gallery images from this camera; may be repeated.",
        kind=list[str],
    ),
    "identify.added_from": Option(
        "--added-from DAY", "Search only images added on this day (UTC) or later: 2026-01-31."
    ),
    "identify.added_until": Option(
        "--added-until DAY", "Search only images added before this day."
    ),
    "identify.tracklets": Option(
        "--tracklets/--no-tracklets",
        "Treat the images of a sub-folder, or of one label and camera, as one query.",
    ),
    "explain.method": Option("--method NAME", "auto, gradient-rollout, rollout (ViT) or grad-cam."),
    "service.host": Option("--host NAME", "Address to listen on; 0.0.0.0 for all."),
    "service.port": Option("--port N", "Port to listen on; 0 for any free one.", kind=int),
    "service.token_file": Option(
        "--token-file FILE", "File with the token that clients must send.", kind=Path
    ),
}
"""Options by setting."""

DATASET_OPTIONS = (
    *("recipe", "encoder.kind", "encoder.weights", "dataset.kind", "dataset.root"),
    *("index.kind", "seed", "device", "run.directory"),
)
"""For commands that describe a dataset."""

ENCODER_OPTIONS = tuple(name for name in DATASET_OPTIONS if not name.startswith("dataset."))
"""For commands that describe images of lists or galleries."""


def takes_settings(
    *settings: str,
    usual_recipe: str | None = None,
    arguments: Mapping[str, Any] = MappingProxyType({}),
) -> Callable[[Command], Command]:
    """Add `--config`, `--set` and setting options to a command, and pass it the settings.

    The command's first parameter receives the resolved settings; the rest are its own. `settings`
    are keys of `SETTING_OPTIONS`; `arguments` are annotated types of positional arguments, by the
    setting that each sets. Where neither a recipe nor an encoder is named, `usual_recipe` is taken.
    """
    names = {setting: setting.replace(".", "_") for setting in (*settings, *arguments)}
    options = {names[setting]: SETTING_OPTIONS[setting].annotation for setting in settings}
    shared = [Parameter(names[key], _NAMED, annotation=kind) for key, kind in arguments.items()]
    shared += [
        Parameter(name, _NAMED, annotation=kind, default=None)
        for name, kind in (_SHARED | options).items()
    ]
    flags = {setting: SETTING_OPTIONS[setting].flags for setting in settings}

    def decorate(command: Command) -> Command:
        def run(*, config: Path | None, assignments: list[str] | None, **values: object) -> None:
            from reid.settings.loading import load_settings

            given = {setting: values.pop(name) for setting, name in names.items()}
            with mentioning(flags):
                resolved = load_settings(
                    config=config,
                    assignments=assignments or (),
                    options=given,
                    usual_recipe=usual_recipe,
                )
                command(resolved, **values)

        # Typer reads the command's name, help and own parameters, followed by the shared ones.
        own = [*signature(command).parameters.values()][1:]
        parameters = [*(one.replace(kind=_NAMED) for one in own), *shared]
        update_wrapper(run, command)
        del run.__wrapped__  # type: ignore[attr-defined]  # its parameters are not ours
        run.__signature__ = Signature(parameters)  # type: ignore[attr-defined]  # read by Typer
        run.__annotations__ = {one.name: one.annotation for one in parameters}
        return run

    return decorate
