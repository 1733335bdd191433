"""Options that set a setting, each declared once, and options that many commands share."""

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from functools import update_wrapper
from inspect import Parameter, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, Final, ParamSpec

import typer

from reid.cli.mentions import mentioning

if TYPE_CHECKING:
    from reid.settings.loading import ResolvedSettings

_Own = ParamSpec("_Own")
_KEYWORD = Parameter.KEYWORD_ONLY

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="TOML file with settings [REID_CONFIG_FILE]."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Any setting; may be repeated."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def ending_in(*endings: str) -> Callable[[Path | None], Path | None]:
    """Check the ending of a file to write, so that a slip replaces no file of another kind."""

    def checked(path: Path | None) -> Path | None:
        if path is not None and path.suffix.lower() not in endings:
            raise typer.BadParameter(f"{path} should end in {' or '.join(endings)}")
        return path

    return checked


@dataclass(frozen=True, slots=True)
class SettingOption:
    """An option that sets a setting."""

    setting: str
    kind: Any
    flags: str
    """`--data`, or `--rerank/--no-rerank`."""

    metavar: str | None
    help: str

    @property
    def annotation(self) -> Any:  # noqa: ANN401  (an annotation can be anything)
        """The annotated type of a command's parameter."""
        option = typer.Option(self.flags, metavar=self.metavar, help=self.help)
        return Annotated[self.kind | None, option]


def _text(setting: str, flag: str, metavar: str, text: str, *, kind: Any = str) -> SettingOption:  # noqa: ANN401
    return SettingOption(setting, kind, flag, metavar, text)


def _switch(setting: str, name: str, text: str) -> SettingOption:
    return SettingOption(setting, bool, f"--{name}/--no-{name}", None, text)


SETTING_OPTIONS: Final[Mapping[str, SettingOption]] = {
    "recipe": _text(
        "recipe",
        "--recipe",
        "NAME",
        "Defaults to start from: vit-b16, vit-b16-sie-olp, rn50, tiny, scratch-cpu, scratch-rn50 "
        "or scratch-vit-b16.",
    ),
    "encoder": _text(
        "encoder.kind", "--encoder", "KIND", "rn50, vit-b16, rn-tiny, vit-tiny or a plug-in."
    ),
    "weights": _text("encoder.weights", "--weights", "FILE", "openai, random or a file."),
    "dataset": _text(
        "dataset.kind",
        "--dataset",
        "KIND",
        "market1501, msmt17, dukemtmc, cuhk03, viper, csv or a plug-in.",
    ),
    "data": _text("dataset.root", "--data", "ROOT", "Folder (or CSV) of the dataset.", kind=Path),
    "skip_bad": _switch(
        "dataset.skip_bad",
        "skip-bad",
        "List and leave out images that cannot be read, instead of failing.",
    ),
    "index": _text("index.kind", "--index", "KIND", "exact, annoy, hnsw or a plug-in."),
    "seed": _text("seed", "--seed", "N", "Seed of everything random.", kind=int),
    "device": _text("device", "--device", "NAME", "auto, cpu, cuda, cuda:N or mps."),
    "run": _text("run.directory", "--run", "DIR", "Folder of the training run.", kind=Path),
    "prompts": _text(
        "run.prompts", "--prompts", "DIR", "Run whose prompts stage 2 starts from.", kind=Path
    ),
    "top_k": _text("identify.top_k", "--top-k", "N", "Gallery images shown per answer.", kind=int),
    "rerank": _switch("evaluation.rerank", "rerank", "Re-rank by k-reciprocal neighbours."),
    "rerank_answers": _switch("identify.rerank", "rerank", "Re-rank by k-reciprocal neighbours."),
    "same_camera_rule": _switch(
        "evaluation.same_camera_rule",
        "same-camera-rule",
        "Leave out gallery images of the query's own person and camera.",
    ),
    "use_cameras": _switch(
        "evaluation.use_cameras",
        "cameras",
        "Use the images' cameras where the encoder has camera embeddings.",
    ),
    "use_cache": _switch(
        "gallery.use_cache",
        "cache",
        "Cache the vectors of a gallery that is a plain folder or list.",
    ),
    "expire_after": _text(
        "gallery.expire_after",
        "--expire-after",
        "TIME",
        "How long to keep the images: 12h, 30d, 8w; `reid gallery check` then erases them.",
    ),
    "thumbnails": _switch("gallery.thumbnails", "thumbnails", "Keep a small JPEG of each image."),
    "fusion": _text(
        "identify.fusion",
        "--fusion",
        "NAME",
        "Similarity of a person: of the best image (best), the mean image (mean), or by a vote of "
        "the nearest images (vote).",
    ),
    "unknown": _text(
        "identify.unknown",
        "--unknown",
        "SIMILARITY",
        "Reject matches below this similarity: a number, auto (as calibrated) or off.",
    ),
    "seen_by": _text(
        "identify.seen_by",
        "--seen-by",
        "CAMERA",
        "Search only gallery images from this camera; may be repeated.",
        kind=list[str],
    ),
    "added_from": _text(
        "identify.added_from",
        "--added-from",
        "DAY",
        "Search only images added on this day (UTC) or later: 2026-01-31.",
    ),
    "added_until": _text(
        "identify.added_until",
        "--added-until",
        "DAY",
        "Search only images added before this day.",
    ),
    "tracklets": _switch(
        "identify.tracklets",
        "tracklets",
        "Treat the images of a sub-folder, or of one label and camera, as one query.",
    ),
    "method": _text(
        "explain.method", "--method", "NAME", "auto, gradient-rollout, rollout (ViT) or grad-cam."
    ),
    "host": _text("service.host", "--host", "NAME", "Address to listen on; 0.0.0.0 for all."),
    "port": _text(
        "service.port", "--port", "N", "Port to listen on; 0 for any free one.", kind=int
    ),
    "token_file": _text(
        "service.token_file",
        "--token-file",
        "FILE",
        "File with the token that clients must send.",
        kind=Path,
    ),
}
"""Options by parameter name."""

ENCODER_OPTIONS = ("recipe", "encoder", "weights", "index", "seed", "device", "run")
"""For commands that describe images of lists or galleries."""

DATASET_OPTIONS = (*ENCODER_OPTIONS[:3], "dataset", "data", *ENCODER_OPTIONS[3:])
"""For commands that describe a dataset."""


def takes_settings(
    *names: str,
    usual_recipe: str | None = None,
    **arguments: Any,  # noqa: ANN401  (annotations)
) -> Callable[[Callable[Concatenate["ResolvedSettings", _Own], None]], Callable[..., None]]:
    """Add `--config`, `--set` and setting options to a command, and pass it the settings.

    The command's first parameter receives the resolved settings; the rest are its own.

    Args:
        names: Keys of `SETTING_OPTIONS`.
        usual_recipe: Recipe to start from when neither a recipe nor an encoder is named.
        arguments: Annotated types of positional arguments that set a setting, by option name.
    """
    settings = {name: SETTING_OPTIONS[name].setting for name in (*names, *arguments)}
    flags = {settings[name]: SETTING_OPTIONS[name].flags for name in names}
    shared = {
        "config": ConfigOption,
        "assignments": SetOption,
        **arguments,
        **{name: SETTING_OPTIONS[name].annotation for name in names},
    }

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

            given = {setting: values.pop(name) for name, setting in settings.items()}
            with mentioning(flags):
                resolved = load_settings(
                    config=config,
                    assignments=assignments or (),
                    options=given,
                    usual_recipe=usual_recipe,
                )
                command(resolved, **values)  # type: ignore[call-arg]  # Typer fills them by name

        _declare(run, of=command, shared=shared, required=set(arguments))
        return run

    return decorate


def _declare(
    run: Callable[..., None],
    *,
    of: Callable[..., None],
    shared: Mapping[str, Any],
    required: Set[str],
) -> None:
    """Give a function a command's name, help and own parameters, followed by the shared ones."""
    parameters = [
        *(one.replace(kind=_KEYWORD) for one in list(signature(of).parameters.values())[1:]),
        *(
            Parameter(
                name,
                _KEYWORD,
                annotation=kind,
                default=Parameter.empty if name in required else None,
            )
            for name, kind in shared.items()
        ),
    ]
    update_wrapper(run, of)
    del run.__wrapped__  # type: ignore[attr-defined]  # its parameters are not ours
    run.__signature__ = signature(run).replace(parameters=parameters)  # type: ignore[attr-defined]  # read by Typer
    run.__annotations__ = {one.name: one.annotation for one in parameters}
