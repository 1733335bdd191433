"""Options that stand for settings, shared by all commands."""

from collections.abc import Callable, Mapping
from functools import update_wrapper
from inspect import Parameter, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, ParamSpec, TypeAlias

import typer

if TYPE_CHECKING:
    from reid.settings.loading import ResolvedSettings

_Own = ParamSpec("_Own")
Options: TypeAlias = Mapping[str, Any]
"""Annotated types by parameter name, each a key of `SETTING_OF`."""


def ending_in(*endings: str) -> Callable[[Path | None], Path | None]:
    """Make a check of a file that is to be written: a slip must not replace one of another kind.

    Args:
        endings: Which names may have, in lower case.
    """

    def checked(path: Path | None) -> Path | None:
        if path is not None and path.suffix.lower() not in endings:
            raise typer.BadParameter(f"{path} should end in {' or '.join(endings)}")
        return path

    return checked


ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="TOML file with settings [REID_CONFIG_FILE]."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Any setting; may be repeated."),
]
RecipeOption = Annotated[
    str | None, typer.Option("--recipe", metavar="NAME", help="Set of constants to start from.")
]
EncoderOption = Annotated[
    str | None,
    typer.Option("--encoder", metavar="KIND", help="rn50, vit-b16, rn-tiny, vit-tiny or plug-in."),
]
WeightsOption = Annotated[
    str | None, typer.Option("--weights", metavar="FILE", help="openai, random, or a file.")
]
DatasetOption = Annotated[
    str | None,
    typer.Option(
        "--dataset",
        metavar="KIND",
        help="market1501, msmt17, dukemtmc, cuhk03, viper, csv or plug-in.",
    ),
]
SkipBadOption = Annotated[
    bool | None,
    typer.Option(
        "--skip-bad/--no-skip-bad",
        help="Leave out pictures that cannot be read, and say which; otherwise they are an error.",
    ),
]
DataOption = Annotated[
    Path | None, typer.Option("--data", metavar="ROOT", help="Folder (or CSV) of the dataset.")
]
IndexOption = Annotated[
    str | None, typer.Option("--index", metavar="KIND", help="exact, annoy, hnsw or plug-in.")
]
SeedOption = Annotated[
    int | None, typer.Option("--seed", metavar="N", help="Decides everything random.")
]
DeviceOption = Annotated[
    str | None, typer.Option("--device", metavar="NAME", help="auto, cpu, cuda, cuda:N or mps.")
]
RunOption = Annotated[
    Path | None, typer.Option("--run", metavar="DIR", help="Folder of the training run.")
]
TopKOption = Annotated[
    int | None, typer.Option("--top-k", metavar="N", help="Gallery pictures shown per answer.")
]
RerankOption = Annotated[
    bool | None, typer.Option("--rerank/--no-rerank", help="k-reciprocal re-ranking.")
]
SameCameraOption = Annotated[
    bool | None,
    typer.Option(
        "--same-camera-rule/--no-same-camera-rule",
        help="Leave out gallery pictures of the query's own person and camera.",
    ),
]
PromptsOption = Annotated[
    Path | None,
    typer.Option("--prompts", metavar="DIR", help="Run whose prompts stage 2 starts from."),
]
UseCamerasOption = Annotated[
    bool | None,
    typer.Option(
        "--cameras/--no-cameras",
        help="Tell an encoder with camera embeddings which camera took a picture.",
    ),
]
CacheOption = Annotated[
    bool | None,
    typer.Option(
        "--cache/--no-cache",
        help="Keep the vectors of a gallery given as a plain folder or list for the next time.",
    ),
]
ExpireAfterOption = Annotated[
    str | None,
    typer.Option(
        "--expire-after",
        metavar="TIME",
        help="How long to keep the pictures: 12h, 30d, 8w; the next gallery check erases them.",
    ),
]
ThumbnailsOption = Annotated[
    bool | None,
    typer.Option("--thumbnails/--no-thumbnails", help="Keep a small JPEG of each picture."),
]
FusionOption = Annotated[
    str | None,
    typer.Option(
        "--fusion",
        metavar="NAME",
        help="A person's similarity: best picture (best), their mean (mean), nearest ones (vote).",
    ),
]
UnknownOption = Annotated[
    str | None,
    typer.Option(
        "--unknown",
        metavar="SIMILARITY",
        help="Below this a query shows nobody known: a number, auto (as calibrated) or off.",
    ),
]
SeenByOption = Annotated[
    list[str] | None,
    typer.Option(
        "--seen-by",
        metavar="CAMERA",
        help="Search only gallery pictures by this camera; may be repeated.",
    ),
]
AddedFromOption = Annotated[
    str | None,
    typer.Option(
        "--added-from",
        metavar="DAY",
        help="Search only pictures added on this day (UTC) or later: 2026-01-31.",
    ),
]
AddedUntilOption = Annotated[
    str | None,
    typer.Option(
        "--added-until", metavar="DAY", help="Search only pictures added before this day."
    ),
]
TrackletsOption = Annotated[
    bool | None,
    typer.Option(
        "--tracklets/--no-tracklets",
        help="Ask once about all pictures of a sub-folder, or else of a label by one camera.",
    ),
]
HostOption = Annotated[
    str | None,
    typer.Option("--host", metavar="NAME", help="Address to listen at; 0.0.0.0 for all."),
]
PortOption = Annotated[
    int | None, typer.Option("--port", metavar="N", help="Port to listen at; 0 for any free one.")
]
TokenFileOption = Annotated[
    Path | None,
    typer.Option(
        "--token-file", metavar="FILE", help="File with the token that clients must send."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

SETTING_OF: Mapping[str, str] = {
    "recipe": "recipe",
    "encoder": "encoder.kind",
    "weights": "encoder.weights",
    "dataset": "dataset.kind",
    "data": "dataset.root",
    "skip_bad": "dataset.skip_bad",
    "index": "index.kind",
    "seed": "seed",
    "device": "device",
    "run": "run.directory",
    "prompts": "run.prompts",
    "top_k": "identify.top_k",
    "rerank": "evaluation.rerank",
    "same_camera_rule": "evaluation.same_camera_rule",
    "use_cameras": "evaluation.use_cameras",
    "host": "service.host",
    "port": "service.port",
    "token_file": "service.token_file",
    "fusion": "identify.fusion",
    "unknown": "identify.unknown",
    "seen_by": "identify.seen_by",
    "added_from": "identify.added_from",
    "added_until": "identify.added_until",
    "tracklets": "identify.tracklets",
    "rerank_answers": "identify.rerank",
    "method": "explain.method",
    "use_cache": "gallery.use_cache",
    "expire_after": "gallery.expire_after",
    "thumbnails": "gallery.thumbnails",
}
"""The setting behind each parameter."""

SHARED_OPTIONS: Options = {
    "recipe": RecipeOption,
    "encoder": EncoderOption,
    "weights": WeightsOption,
    "dataset": DatasetOption,
    "data": DataOption,
    "index": IndexOption,
    "seed": SeedOption,
    "device": DeviceOption,
    "run": RunOption,
}
"""What a command takes unless it says otherwise."""

OPTIONS_WITHOUT_DATASET: Options = {
    name: option for name, option in SHARED_OPTIONS.items() if name not in ("data", "dataset")
}
"""What a command takes whose pictures are lists or galleries."""


def takes_settings(
    options: Options = SHARED_OPTIONS, *, usual_recipe: str | None = None
) -> Callable[[Callable[Concatenate["ResolvedSettings", _Own], None]], Callable[..., None]]:
    """Give a command `--config`, `--set` and options for settings, and hand it the settings.

    The command's first parameter receives the resolved settings; the rest are its own.

    Args:
        options: Annotated types by parameter name; one whose type does not admit None is required.
        usual_recipe: What the command starts from where nobody names a recipe or an encoder.
    """

    def decorate(
        command: Callable[Concatenate["ResolvedSettings", _Own], None],
    ) -> Callable[..., None]:
        def run(
            *,
            config: Path | None,
            assignments: list[str] | None,
            **values: Any,  # noqa: ANN401
        ) -> None:
            from reid.settings.loading import load_settings

            given = {SETTING_OF[name]: values.pop(name) for name in options}
            resolved = load_settings(
                config=config,
                assignments=assignments or (),
                options=given,
                usual_recipe=usual_recipe,
            )
            command(resolved, **values)  # type: ignore[call-arg]  # Typer fills them by name

        own = list(signature(command).parameters.values())[1:]
        shared = [
            _parameter("config", ConfigOption),
            _parameter("assignments", SetOption),
            *(_parameter(name, kind) for name, kind in options.items()),
        ]
        update_wrapper(run, command)
        del run.__wrapped__  # type: ignore[attr-defined]  # its parameters are not ours
        parameters = [parameter.replace(kind=Parameter.KEYWORD_ONLY) for parameter in own + shared]
        run.__signature__ = signature(run).replace(parameters=parameters)  # type: ignore[attr-defined]  # read by Typer
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return decorate


def _parameter(name: str, kind: Any) -> Parameter:  # noqa: ANN401  (an annotation)
    admits_none = type(None) in getattr(kind.__origin__, "__args__", ())
    default = None if admits_none else Parameter.empty
    return Parameter(name, Parameter.KEYWORD_ONLY, annotation=kind, default=default)
