"""Evaluations, and the runs that record them."""

import json
import platform
from pathlib import Path
from typing import TYPE_CHECKING

from dependency_injector import providers

from reid.container.encoders import Encoders, training_precision
from reid.container.foundation import SETTINGS, Foundation
from reid.container.indexes import Indexes
from reid.domain.errors import ConfigurationError
from reid.domain.values.evaluations import EVALUATION
from reid.extras import RECORDED_PACKAGES, needed_for, versions_of
from reid.importing import Lazily
from reid.known_models import catalogue, digest_of
from reid.settings.loading import plain_settings
from reid.settings.parents import ENCODER_FILE
from reid.settings.recorded import changed_settings, departures_from_recipe

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from reid.adapters.pages.documents import PageFile
    from reid.adapters.pages.evaluation import ChartFiles
    from reid.adapters.pages.markdown import MarkdownPage
    from reid.adapters.runs.filesystem import FilesystemRunStore
    from reid.adapters.runs.records import FilesystemRunRecords
    from reid.application.evaluate import Evaluate, EvaluateRun
    from reid.application.records import RecordedEvaluation
    from reid.application.report_runs import ReportRuns
    from reid.domain.values.analyses import MapLayout
    from reid.domain.values.json_values import JsonValue
    from reid.domain.values.model_cards import WeightsFile
    from reid.domain.values.page_data import EvaluationPageData
    from reid.domain.values.recipes import RerankingRecipe
    from reid.settings.schema import Settings
    from reid.settings.tasks import EvaluationSettings

_NOT_SCORED = ("root", "also", "cache_mib")
"""Settings of the dataset that concern paths or training only."""


def open_evaluation(path: Path) -> "RecordedEvaluation":
    """Open a run's own evaluation by its folder, or any evaluation by its file."""
    from reid.adapters.runs.records import FilesystemRunRecords
    from reid.application.records import RecordedEvaluation

    folder, name = (path.parent, path.stem) if path.suffix == ".json" else (path, EVALUATION)
    return RecordedEvaluation(FilesystemRunRecords(folder), name)


def evaluation_settings(settings: "Settings") -> dict[str, "JsonValue"]:
    """List the settings that an evaluation's scores depend on, besides images and weights.

    Paths, settings of training, and what the weights file states itself are left out.
    """
    plain = plain_settings(settings)
    dataset, encoder = plain["dataset"], plain["encoder"]
    # Recorded only where used, so that older records stay equal.
    not_scored = _NOT_SCORED if settings.dataset.skip_bad else (*_NOT_SCORED, "skip_bad")
    return {
        "seed": settings.seed,
        "dataset": {key: dataset[key] for key in dataset if key not in not_scored},
        "encoder": {key: encoder[key] for key in ("image_size", "stride", "precision", "options")},
        **{section: plain[section] for section in ("index", "evaluation", "reranking")},
    }


def fingerprint_settings(settings: "Settings") -> dict[str, "JsonValue"]:
    """List the settings that decide a run's result, by dotted name.

    Paths and scoring do not. The training precision is the resolved one: `auto` may differ on
    another machine.
    """
    plain = plain_settings(settings)
    plain["encoder"]["training_precision"] = training_precision(settings)
    del plain["encoder"]["graph"]  # graphs are not trained
    named = ("encoder", "prompts", "finetuning")
    sections = {name: plain[name] for name in named}
    if settings.teacher.is_named:
        sections["teacher"] = plain["teacher"]
    return {
        "seed": settings.seed,
        "dataset.kind": settings.dataset.kind,
        **{
            f"{section}.{key}": value
            for section, values in sections.items()
            for key, value in values.items()
        },
    }


def environment(settings: "Settings") -> dict[str, "JsonValue"]:
    """Record a run's versions, machine and settings."""
    return {
        **machine(settings),
        "precision": settings.encoder.precision,
        "training_precision": training_precision(settings),
        "settings": plain_settings(settings),
    }


def machine(settings: "Settings") -> dict[str, "JsonValue"]:
    """Record versions and machine, which change rounding at most."""
    import torch

    from reid.adapters.devices import name_of_device, resolve_device
    from reid.adapters.surroundings import processor_name

    return {
        "versions": dict(versions_of(RECORDED_PACKAGES)),
        "platform": platform.platform(),
        "processor": processor_name(),
        "vector_instructions": torch.backends.cpu.get_cpu_capability(),
        "device": resolve_device(settings.device),
        "device_name": name_of_device(resolve_device(settings.device)),
        "threads": torch.get_num_threads(),
        "tf32": {
            "matrix products": torch.backends.cuda.matmul.allow_tf32,
            "convolutions": torch.backends.cudnn.allow_tf32,
        },
    }


def weights_file(directory: Path) -> "WeightsFile | None":
    """Describe the file of a run's trained encoder; None where it is not there."""
    from reid.adapters.encoders.architecture import IMAGE_PREFIX
    from reid.adapters.safetensors_file import count_parameters
    from reid.domain.values.model_cards import WeightsFile

    path = directory / ENCODER_FILE
    if not path.is_file():
        return None
    return WeightsFile(
        name=path.name,
        size=path.stat().st_size,
        sha256=digest_of(path, "sha256").partition(":")[2],
        parameters=count_parameters(path, prefix=IMAGE_PREFIX),
    )


def describe_card(records: "FilesystemRunRecords", *, seed: int) -> str:
    """Write the text of a run's model card; see `describe_run`."""
    from reid.adapters.pages.markdown import render_card
    from reid.application.model_cards import describe_run

    card = describe_run(
        records,
        catalogue=catalogue(),
        departures=departures_from_recipe,
        write_json=json.dumps,
        weights=weights_file(Path(records.place)),
        seed=seed,
    )
    return render_card(card)


def write_card(records: "FilesystemRunRecords", *, seed: int) -> None:
    """Write a run's model card beside its records."""
    from reid.adapters.pages.documents import write_page
    from reid.adapters.runs.records import CARD

    write_page(Path(records.place) / CARD, describe_card(records, seed=seed))


def reranking_of(
    evaluation: "EvaluationSettings", recipe: "RerankingRecipe"
) -> "RerankingRecipe | None":
    """Return the recipe if re-ranking is on."""
    return recipe if evaluation.rerank else None


def rasteriser() -> "Callable[[str], bytes]":
    """Return the function that turns SVG charts into PNG.

    Raises:
        ConfigurationError: resvg cannot be imported.
    """
    with needed_for("a PNG", package="resvg-py"):
        from reid.adapters.pages.rasters import rasterise
    return rasterise


def lay_out_map(vectors: "Tensor", *, perplexity: float, seed: int) -> "MapLayout":
    """Lay out a map with scikit-learn; without it, return an empty map that states the reason."""
    try:
        with needed_for("a map", package="scikit-learn"):
            from reid.adapters.maps import lay_out_by_tsne
    except ConfigurationError as missing:
        from reid.domain.values.analyses import MapLayout

        return MapLayout(places=(), method=str(missing))
    return lay_out_by_tsne(vectors, perplexity=perplexity, seed=seed)


class Evaluation(Encoders, Indexes):
    """Scores, their records and their pages."""

    runs = providers.Singleton["FilesystemRunStore"](
        Lazily("reid.adapters.runs.filesystem:FilesystemRunStore"), SETTINGS.run.directory
    )
    records = providers.Singleton["FilesystemRunRecords"](
        Lazily("reid.adapters.runs.records:FilesystemRunRecords"), SETTINGS.run.directory
    )
    evaluate = providers.Singleton["Evaluate"](
        Lazily("reid.application.evaluate:Evaluate"),
        encoder=Encoders.encoder,
        dataset=Encoders.dataset,
        embedder=Encoders.embedder,
        index=Indexes.index,
        map_maker=providers.Callable(lay_out_map, seed=SETTINGS.seed).provider,
        reranking=providers.Callable(reranking_of, SETTINGS.evaluation, SETTINGS.reranking),
        remove_same_camera=SETTINGS.evaluation.same_camera_rule,
        screened=Encoders.dataset,
    )
    evaluate_run = providers.Singleton["EvaluateRun"](
        Lazily("reid.application.evaluate:EvaluateRun"),
        evaluate=evaluate,
        runs=runs,
        settings=providers.Callable(evaluation_settings, Foundation.settings),
        environment=providers.Callable(machine, Foundation.settings),
    )
    evaluation_page = providers.Factory["PageFile[EvaluationPageData]"](
        Lazily("reid.adapters.pages.documents:PageFile"),
        render=Lazily("reid.adapters.pages.evaluation:render_evaluation_page"),
    )
    chart_files = providers.Factory["ChartFiles"](
        Lazily("reid.adapters.pages.evaluation:ChartFiles")
    )
    rasteriser = providers.Callable(rasteriser)
    open_evaluation = providers.Object(open_evaluation)
    compare = providers.Callable(
        Lazily("reid.application.records:compare_runs"), seed=SETTINGS.seed
    )
    reproduce = providers.Callable(
        Lazily("reid.application.reproduce:reproduce"), evaluate=evaluate_run
    )
    open_records = providers.Object(Lazily("reid.adapters.runs.records:FilesystemRunRecords"))
    collect_records = providers.Object(Lazily("reid.adapters.runs.records:collect_records"))
    page = providers.Factory["MarkdownPage"](Lazily("reid.adapters.pages.markdown:MarkdownPage"))
    model_card = providers.Callable(describe_card, seed=SETTINGS.seed)
    write_card = providers.Callable(write_card, records, seed=SETTINGS.seed)
    report = providers.Factory["ReportRuns"](
        Lazily("reid.application.report_runs:ReportRuns"),
        departures=providers.Object(departures_from_recipe),
        changes=providers.Object(changed_settings),
        seed=SETTINGS.seed,
    )
