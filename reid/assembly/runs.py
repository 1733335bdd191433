"""Runs, and what they record of settings and machine."""

import platform
from pathlib import Path

import torch

from reid.adapters.devices import name_of_device, resolve_device
from reid.adapters.runs.filesystem import FilesystemRunStore
from reid.adapters.runs.records import METRICS, FilesystemRunRecords
from reid.application.records import RecordedEvaluation
from reid.assembly.encoders import training_precision
from reid.domain.values.checkpoints import JsonValue
from reid.domain.values.evaluations import EVALUATION
from reid.extras import EXTRAS, RECORDED_PACKAGES, versions_of
from reid.ports.runs import RunStore
from reid.settings.loading import plain_settings
from reid.settings.schema import Settings


def metrics_path(settings: Settings) -> Path:
    """Name the file of a run's metrics."""
    return settings.run.directory / METRICS


def open_earlier_run(directory: Path | None) -> RunStore | None:
    """Open the run that prompts are taken from, if one is named."""
    return None if directory is None else FilesystemRunStore(directory)


def open_evaluation(path: Path) -> RecordedEvaluation:
    """Open a run's own evaluation by its folder, or any of its evaluations by its file."""
    if path.suffix == ".json":
        return RecordedEvaluation(FilesystemRunRecords(path.parent), path.stem)
    return RecordedEvaluation(FilesystemRunRecords(path), EVALUATION)


_NOT_SCORED = ("root", "also", "cache_mib")
"""Settings of the dataset that say where pictures lie or serve training only."""


def decisive_settings(settings: Settings) -> dict[str, JsonValue]:
    """List what decides a run's result, by dotted name: seed, encoder, dataset and both recipes.

    Where the files lie and how the result is scored do not. Of the precision of training, what it
    came to counts: `auto` on another machine may be something else.
    """
    plain = plain_settings(settings)
    plain["encoder"]["training_precision"] = training_precision(settings)
    sections = {name: plain[name] for name in ("encoder", "prompts", "finetuning")}
    return {
        "seed": settings.seed,
        "dataset.kind": settings.dataset.kind,
        **{
            f"{section}.{key}": value
            for section, values in sections.items()
            for key, value in values.items()
        },
    }


def evaluation_settings(settings: Settings) -> dict[str, JsonValue]:
    """List what an evaluation's scores depend on beside pictures and weights, as settings nest.

    Where the pictures lie, what serves training only, and what the weights' file says itself is
    left out.
    """
    plain = plain_settings(settings)
    dataset, encoder = plain["dataset"], plain["encoder"]
    # Left out where it is not used, so that records are what they were before there was a choice.
    not_scored = _NOT_SCORED if settings.dataset.skip_bad else (*_NOT_SCORED, "skip_bad")
    return {
        "seed": settings.seed,
        "dataset": {key: dataset[key] for key in dataset if key not in not_scored},
        "encoder": {key: encoder[key] for key in ("image_size", "stride", "precision", "options")},
        **{section: plain[section] for section in ("index", "evaluation", "reranking")},
    }


def circumstances(settings: Settings) -> dict[str, JsonValue]:
    """Note what a run ran with: versions, machine, and every setting."""
    return {
        **machine(settings),
        "precision": settings.encoder.precision,
        "training_precision": training_precision(settings),
        "settings": plain_settings(settings),
    }


def machine(settings: Settings) -> dict[str, JsonValue]:
    """Note versions and machine: they change rounding at most."""
    return {
        "versions": dict(versions_of((*RECORDED_PACKAGES, *(extra.package for extra in EXTRAS)))),
        "platform": platform.platform(),
        "device": resolve_device(settings.device),
        "device_name": name_of_device(resolve_device(settings.device)),
        "threads": torch.get_num_threads(),
        "tf32": {
            "matrix products": torch.backends.cuda.matmul.allow_tf32,
            "convolutions": torch.backends.cudnn.allow_tf32,
        },
    }
