"""The card of a trained encoder, as plain numbers and words; imports no torch."""

from collections.abc import Mapping
from dataclasses import dataclass

from reid.domain.values.evaluations import EvaluationRecord
from reid.domain.values.results import RunSummary


@dataclass(frozen=True, slots=True, kw_only=True)
class CardScores:
    """An evaluation, with an interval for each measure where every query's scores are recorded."""

    record: EvaluationRecord
    intervals: Mapping[str, tuple[float, float]]  # shares in 0..1 by measure; may be empty


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsFile:
    """The file of a run's trained encoder."""

    name: str
    size: int  # bytes
    sha256: str
    parameters: int  # of the image tower, buffers such as running means left out


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """What a run's records say of its encoder."""

    run: RunSummary
    verdict: str  # what the training data means for the weights, in a sentence
    data: tuple[str, ...]  # data sets and their terms
    weights: WeightsFile | None  # None where the records are kept without it
    digests: tuple[str, ...]  # of the evaluated tensors, by `digest_of`; one, if all is current
    lineage: tuple[str, ...]  # where the weights come from, and their terms
    settings: Mapping[str, str]  # that decide the result, as JSON by dotted name
    scores: tuple[CardScores, ...]
    versions: Mapping[str, str]
    machine: Mapping[str, str]
