"""Gather what a run's records say of its encoder for a model card."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from reid.application.records import (
    JudgedQueries,
    RecordedEvaluation,
    has_queries,
    require_manifest,
)
from reid.application.report_runs import summarize
from reid.domain.ranking.significance import score_intervals
from reid.domain.values.evaluations import EvaluationRecord
from reid.domain.values.model_cards import CardScores, ModelCard, WeightsFile
from reid.domain.values.models import Catalogue, DatasetTerms
from reid.ports.runs import RunRecords

Departures: TypeAlias = Callable[[str, Mapping[str, Any]], tuple[str, ...]]

_MACHINE = ("processor", "vector_instructions", "device", "device_name", "threads", "platform")
_BY_NAME = {
    "openai": "OpenAI's CLIP",
    "random": "random weights",
    "pretrained": "the usual download",
}


def describe_run(
    records: RunRecords,
    *,
    catalogue: Catalogue,
    departures: Departures,
    write_json: Callable[[object], str],
    weights: WeightsFile | None,
    seed: int,
) -> ModelCard:
    """Describe the encoder of a run, evaluated or not.

    Args:
        records: The run's.
        catalogue: Knows the terms of data sets, and of models that the run began with.
        departures: Lists the settings that differ from the named recipe's.
        write_json: Writes a setting's value.
        weights: The file of the trained encoder, where it is there.
        seed: Decides the draws of the intervals.

    Raises:
        CheckpointError: There is no run, or its records are damaged.
    """
    manifest = require_manifest(records)
    fingerprint, environment = manifest["fingerprint"], manifest["environment"]
    settings = environment.get("settings") or {}
    summary = summarize(records, departures=departures)
    terms = list(_datasets(settings, fingerprint, catalogue))
    versions = environment.get("versions") or {}
    return ModelCard(
        run=summary,
        verdict=_verdict(terms, fingerprint),
        data=tuple(_said(data, is_it=is_it) for data, is_it in terms),
        weights=weights,
        digests=tuple(dict.fromkeys(record.weights_digest for record in summary.evaluations)),
        lineage=tuple(_lineage(manifest, settings, catalogue)),
        settings={
            name: write_json(_last_part(value) if name.endswith(".weights") else value)
            for name, value in sorted(fingerprint.items())
        },
        scores=tuple(_scored(records, record, seed=seed) for record in summary.evaluations),
        versions={name: str(found) for name, found in versions.items() if found is not None},
        machine={
            name.replace("_", " "): str(environment[name])
            for name in _MACHINE
            if environment.get(name) is not None
        },
    )


def _datasets(
    settings: Mapping[str, Any], fingerprint: Mapping[str, Any], catalogue: Catalogue
) -> Iterator[tuple[DatasetTerms, bool]]:
    """Yield what is known of each kind of data set, and whether the images are certainly its."""
    chosen = settings.get("dataset") or {}
    kinds = [chosen.get("kind") or fingerprint.get("dataset.kind")]
    kinds += [also.get("kind") for also in chosen.get("also") or ()]
    for kind in dict.fromkeys(map(str, kinds)):
        if kind in catalogue.datasets:
            data = catalogue.datasets[kind]
            digest = fingerprint.get("dataset.digest")
            yield data, data.training_digest is not None and data.training_digest == digest


def _verdict(terms: list[tuple[DatasetTerms, bool]], fingerprint: Mapping[str, Any]) -> str:
    certain = [data for data, is_it in terms if is_it]
    if certain:
        (data, *_) = certain
        return (
            f"{data.name} is given out {data.terms}: these weights keep its terms, and are not for "
            "a product."
        )
    if terms:
        named = " or ".join(data.name for data, _ in terms)
        return (
            "Weights keep the terms of the images that they were trained on: if these are those of "
            f"{named}, its terms below are theirs."
        )
    kind = fingerprint.get("dataset.kind") or "unknown"
    return (
        f"Weights keep the terms of the images that they were trained on; of these (data set kind "
        f"{kind}), no terms are recorded."
    )


def _said(data: DatasetTerms, *, is_it: bool) -> str:
    how = "by its digest, the training list of" if is_it else "read in the layout of"
    return f"{how} {data.name}, which is given out on these terms: {data.terms} ({data.page})"


def _lineage(
    manifest: Mapping[str, Any], settings: Mapping[str, Any], catalogue: Catalogue
) -> Iterator[str]:
    fingerprint = manifest["fingerprint"]
    yield from _origin("the encoder began with", fingerprint.get("encoder.weights"), catalogue)
    teacher = fingerprint.get("teacher.weights")
    if teacher is not None:
        yield from _origin("it learned from the descriptors of", teacher, catalogue)
    parent = manifest.get("parent") or manifest["environment"].get("parent")
    if parent is not None:
        facts = list(parent.items()) if isinstance(parent, Mapping) else [("run", parent)]
        facts.sort(key=lambda fact: fact[0] != "run")
        words = ", ".join(f"{name} {_last_part(value)}" for name, value in facts)
        yield f"it goes on from another run: {words}"
    prompts = (settings.get("run") or {}).get("prompts")
    if prompts is not None:
        yield f"its prompts are those of the run {_last_part(prompts)}"


def _origin(how: str, weights: object, catalogue: Catalogue) -> Iterator[str]:
    if weights is None:
        yield f"{how} weights that are not recorded"
    elif str(weights) in catalogue.models:
        entry = catalogue.models[str(weights)]
        yield f"{how} {entry.name}: {entry.about} ({entry.page})"
        yield from (f"{entry.name}: {line}" for line in catalogue.terms(entry))
    else:
        name = _BY_NAME.get(str(weights), f"the file or tag {_last_part(weights)}")
        yield f"{how} {name}"


def _scored(records: RunRecords, record: EvaluationRecord, *, seed: int) -> CardScores:
    if not has_queries(records, record.name):
        return CardScores(record=record, intervals={})
    judged = JudgedQueries.of(RecordedEvaluation(records, record.name))
    return CardScores(record=record, intervals=score_intervals(judged.scores, seed=seed))


def _last_part(path: object) -> str:
    return str(path).replace("\\", "/").rstrip("/").rpartition("/")[2]
