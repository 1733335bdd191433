"""Gather the results of recorded runs, and what the settings in which they differ change."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import isfinite, nan
from typing import Any, TypeAlias

from reid.application.records import (
    JudgedQueries,
    RecordedEvaluation,
    evaluation_names,
    has_queries,
    read_evaluation,
    require_manifest,
)
from reid.domain.errors import CheckpointError, ConfigurationError
from reid.domain.ranking.significance import compare_scores
from reid.domain.values.counts import counted
from reid.domain.values.evaluations import EVALUATION, EvaluationRecord
from reid.domain.values.results import (
    PUBLISHED_BASELINES,
    Ablation,
    AblationRow,
    Results,
    RunPair,
    RunSummary,
    SettingChange,
    StageCurves,
)
from reid.ports.pages import Page
from reid.ports.runs import RunRecords

MOST_CHANGES = 4  # settings in which a run may differ from the baseline: one idea can take several

SettingsDiffer: TypeAlias = Callable[
    [str, Mapping[str, Any], Mapping[str, Any]], tuple[SettingChange, ...]
]
"""Lists the settings of a run that differ from the baseline's, given the baseline's recipe."""

_Variant: TypeAlias = tuple[JudgedQueries, tuple[SettingChange, ...]]
_Epochs: TypeAlias = dict[int, tuple[float, dict[str, float]]]
"""Seconds and losses by the number of the epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportOutcome:
    """What was written."""

    runs: tuple[str, ...]
    page: str
    figures: tuple[str, ...]
    ablation: tuple[str, ...] = ()  # runs shown by their difference to the baseline only


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRuns:
    """Makes the results page of recorded runs; their weights are not needed."""

    page: Page[Results]
    departures: Callable[[str, Mapping[str, Any]], tuple[str, ...]]
    """Lists a run's settings that differ from the named recipe's."""
    changes: SettingsDiffer
    seed: int  # decides the draws of the comparisons

    def run(self, runs: Sequence[RunRecords], *, baseline: str | None = None) -> ReportOutcome:
        """Read the runs and write the page, runs in the order given.

        `baseline` names the run whose variants are shown in a table of differences only; None shows
        every run in full.

        Raises:
            CheckpointError: A folder holds no run, or records are damaged.
            ConfigurationError: Two runs have one name, or none is near the baseline.
        """
        names = [records.name for records in runs]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ConfigurationError(
                f"two runs are called {twice[0]!r}; the page names runs by their folders, so "
                "rename one"
            )
        ablation = None
        if baseline is not None:
            ablation = find_ablation(runs, baseline, changes=self.changes, seed=self.seed)
        near = tuple(one.run for one in ablation.runs) if ablation else ()
        shown = [one for one in runs if one.name not in near]
        summaries = tuple(summarize(one, departures=self.departures) for one in shown)
        judged, uncompared = _judged_queries(zip(shown, summaries, strict=True))
        results = Results(
            runs=summaries,
            pairs=tuple(self._pairs(judged)),
            uncompared=uncompared,
            published_baselines=PUBLISHED_BASELINES,
            ablation=ablation,
        )
        page, *figures = self.page.write(results)
        return ReportOutcome(runs=tuple(names), page=page, figures=tuple(figures), ablation=near)

    def _pairs(self, judged: Sequence[JudgedQueries]) -> Iterable[RunPair]:
        alike: dict[object, list[JudgedQueries]] = defaultdict(list)
        for one in judged:
            alike[one.protocol].append(one)
        for group in alike.values():
            pairs = list(combinations(group, 2))
            scores = [(first.scores, second.scores) for first, second in pairs]
            compared = compare_scores(scores, seed=self.seed)
            for (first, second), differences in zip(pairs, compared, strict=True):
                yield RunPair(
                    first=first.source.records.name,
                    second=second.source.records.name,
                    evaluation=first.record.words,
                    differences=differences,
                )


def summarize(
    records: RunRecords, *, departures: Callable[[str, Mapping[str, Any]], tuple[str, ...]]
) -> RunSummary:
    """Summarize a run; `departures` lists its settings that differ from the named recipe's.

    Raises:
        CheckpointError: There is no run, or records are damaged.
    """
    manifest = require_manifest(records)
    fingerprint, environment = manifest["fingerprint"], manifest["environment"]
    settings = environment.get("settings") or {}
    recipe = str(settings.get("recipe") or "unknown")
    found = [read_evaluation(records, name) for name in evaluation_names(records)]
    own = next((record for record in found if record.name == EVALUATION), None)
    # Evaluations of weights other than the run's final ones are left out.
    current = [one for one in found if own is None or one.weights_digest == own.weights_digest]
    stages = _epochs(records)
    seconds = [taken for epochs in stages.values() for taken, _ in epochs.values()]
    return RunSummary(
        name=records.name,
        recipe=recipe,
        departures=departures(recipe, fingerprint),
        encoder=_encoder(fingerprint.get("encoder.kind"), own),
        initialisation=_initialisation(fingerprint.get("encoder.weights"), own),
        trained_on=_trained_on(settings, own, digest=fingerprint.get("dataset.digest")),
        seed=fingerprint.get("seed"),
        curves=tuple(_curve(stage, epochs) for stage, epochs in stages.items()),
        training_seconds=sum(seconds) if seconds else None,
        device=_device(environment),
        evaluations=tuple(current),
        outdated=tuple(record.name for record in found if record not in current),
    )


def _judged_queries(
    runs: Iterable[tuple[RunRecords, RunSummary]],
) -> tuple[list[JudgedQueries], tuple[str, ...]]:
    """Read the recorded scores of queries, and name the runs that have none."""
    judged, uncompared = [], []
    for records, summary in runs:
        for record in summary.evaluations:
            if has_queries(records, record.name):
                judged.append(JudgedQueries.of(RecordedEvaluation(records, record.name)))
            else:
                uncompared.append(f"{summary.name} ({record.name})")
    return judged, tuple(uncompared)


def find_ablation(
    runs: Sequence[RunRecords], baseline: str, *, changes: SettingsDiffer, seed: int
) -> Ablation:
    """Compare a baseline with the runs that are near it.

    Near are runs that were trained on the same images with at most `MOST_CHANGES` other settings,
    and whose own evaluation is of the same queries and gallery by the same protocol. Other seeds of
    the baseline come first, the rest in the order given.

    Raises:
        CheckpointError: The baseline has no comparable evaluation, or records are damaged.
        ConfigurationError: No run is near the baseline.
    """
    origin = next(records for records in runs if records.name == baseline)
    judged = JudgedQueries.of(RecordedEvaluation(origin, EVALUATION))
    others = [records for records in runs if records is not origin]
    found = [one for records in others for one in _variant(judged, records, changes=changes)]
    if not found:
        raise ConfigurationError(
            f"no other run was trained as {baseline} but for at most {MOST_CHANGES} settings and "
            "evaluated on the same images by the same protocol: name such runs too, or no "
            "baseline"
        )
    compared = compare_scores([(judged.scores, one.scores) for one, _ in found], seed=seed)
    ablation = [
        AblationRow(run=one.source.records.name, changes=apart, differences=differences)
        for (one, apart), differences in zip(found, compared, strict=True)
    ]
    return Ablation(
        baseline=baseline,
        evaluation=judged.record.words,
        runs=tuple(sorted(ablation, key=lambda one: not one.is_other_seed)),
    )


def _variant(
    baseline: JudgedQueries, records: RunRecords, *, changes: SettingsDiffer
) -> tuple[_Variant, ...]:
    """Return the run as a tuple of one if it is near, else an empty tuple."""
    before, after = require_manifest(baseline.source.records), require_manifest(records)
    if before["fingerprint"].get("dataset.digest") != after["fingerprint"].get("dataset.digest"):
        return ()
    recipe = str((before["environment"].get("settings") or {}).get("recipe"))
    apart = changes(recipe, before["fingerprint"], after["fingerprint"])
    is_comparable = EVALUATION in evaluation_names(records) and has_queries(records, EVALUATION)
    if not 1 <= len(apart) <= MOST_CHANGES or not is_comparable:
        return ()
    judged = JudgedQueries.of(RecordedEvaluation(records, EVALUATION))
    return ((judged, apart),) if judged.protocol == baseline.protocol else ()


def _encoder(kind: object, own: EvaluationRecord | None) -> str:
    """Name an encoder, with the size of its images where that is recorded."""
    recorded = own.encoder if own is not None else {}
    name = str(kind or recorded.get("name") or "unknown")
    match (recorded.get("options") or {}).get("image_size"):
        case [height, width]:
            return f"{name}, {height}x{width}"
    return name


def _initialisation(weights: object, own: EvaluationRecord | None) -> str:
    if weights in (None, "random"):
        return str(weights or "unknown")
    if weights == "openai":
        return "OpenAI CLIP"
    checkpoint = f"checkpoint {_last_part(weights)}"
    if own is not None and not own.encoder.get("is_pretrained", True):
        return f"{checkpoint}, itself trained from random weights"
    return checkpoint


def _trained_on(
    settings: Mapping[str, Any], own: EvaluationRecord | None, *, digest: object
) -> str:
    """Name the training images, and count them where that is recorded."""
    if own is not None and own.digest_of("train") == digest is not None:
        train = own.data["train"]
        return f"{own.dataset} ({train.num_identities} people, {train.num_images} images)"
    root = settings.get("dataset", {}).get("root")
    return "unknown" if root is None else _last_part(root)


def _last_part(path: object) -> str:
    return str(path).replace("\\", "/").rstrip("/").rpartition("/")[2]


def _device(environment: Mapping[str, Any]) -> str:
    name = environment.get("device_name") or environment.get("device") or "unknown"
    threads, precision = environment.get("threads"), environment.get("training_precision")
    parts = [str(name)]
    if name == "cpu" and threads:
        parts.append(counted(threads, "thread"))
    if precision not in (None, "fp32"):
        parts.append(f"trained in {precision}")
    return ", ".join(parts)


def _epochs(records: RunRecords) -> dict[str, _Epochs]:
    """Sort the log by stage and epoch; an epoch that was repeated counts once."""
    stages: dict[str, _Epochs] = {}
    try:
        for line in records.progress():
            known = stages.setdefault(str(line.get("stage")), {})
            if line.get("event") == "stage_started":
                for epoch in [epoch for epoch in known if epoch >= line["first_epoch"]]:
                    del known[epoch]
            elif line.get("event") == "epoch_finished":
                losses = {term: float(loss) for term, loss in line["losses"].items()}
                known[int(line["epoch"])] = float(line["seconds"]), losses
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"the log of {records.place} cannot be read ({type(error).__name__}: {error})"
        ) from error
    return {stage: known for stage, known in stages.items() if known}


def _curve(stage: str, epochs: _Epochs) -> StageCurves:
    """Keep the terms that every epoch has, so that lines have no gaps."""
    losses = [losses for _, losses in epochs.values()]
    return StageCurves(
        stage=stage,
        epochs=tuple(epochs),
        losses={
            term: tuple(each[term] for each in losses)
            for term in losses[0]
            if all(isfinite(each.get(term, nan)) for each in losses)
        },
    )
