"""Find the runs that differ from a baseline in a few settings, and what each difference changes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from reid.application.records import (
    JudgedQueries,
    RecordedEvaluation,
    evaluation_names,
    has_queries,
    require_manifest,
)
from reid.domain.errors import ConfigurationError
from reid.domain.ranking.significance import compare_scores
from reid.domain.values.evaluations import EVALUATION
from reid.domain.values.results import Ablation, AblationRow, SettingChange
from reid.ports.records import RunRecords

MOST_CHANGES = 4
"""Settings in which a run may differ from the baseline: one idea can take several."""

SettingsDiffer: TypeAlias = Callable[
    [str, Mapping[str, Any], Mapping[str, Any]], tuple[SettingChange, ...]
]
"""Lists the settings of a run that differ from the baseline's, given the baseline's recipe."""

_Variant: TypeAlias = tuple[JudgedQueries, tuple[SettingChange, ...]]
_DATA = "dataset.digest"


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
    if before["fingerprint"].get(_DATA) != after["fingerprint"].get(_DATA):
        return ()
    recipe = str((before["environment"].get("settings") or {}).get("recipe"))
    apart = changes(recipe, before["fingerprint"], after["fingerprint"])
    is_comparable = EVALUATION in evaluation_names(records) and has_queries(records, EVALUATION)
    if not 1 <= len(apart) <= MOST_CHANGES or not is_comparable:
        return ()
    judged = JudgedQueries.of(RecordedEvaluation(records, EVALUATION))
    return ((judged, apart),) if judged.protocol == baseline.protocol else ()
