"""Content of the results page, as plain numbers and words; imports no torch."""

from collections.abc import Mapping
from dataclasses import dataclass

from reid.domain.values.evaluations import EvaluationRecord, ScoreDifference

SEED = "seed"  # key of the setting that decides everything random


@dataclass(frozen=True, slots=True, kw_only=True)
class StageCurves:
    """How the losses of one training stage fell."""

    stage: str
    epochs: tuple[int, ...]
    losses: Mapping[str, tuple[float, ...]]  # by term, a mean for each epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """One run: its settings, cost and scores."""

    name: str
    recipe: str
    departures: tuple[str, ...]  # settings other than the recipe's, as `key = value`
    encoder: str
    initialisation: str  # `random`, `OpenAI CLIP`, or which checkpoint
    trained_on: str
    seed: int | None
    curves: tuple[StageCurves, ...]
    training_seconds: float | None  # None where the training was not logged
    device: str
    evaluations: tuple[EvaluationRecord, ...]
    outdated: tuple[str, ...] = ()  # evaluations left out, of weights that are replaced

    def num_epochs(self, stage: str) -> int | None:
        """Count the epochs of a stage; None where the run did not do it."""
        return next((len(one.epochs) for one in self.curves if one.stage == stage), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPair:
    """Two runs that were evaluated alike, and the differences of their scores."""

    first: str
    second: str
    evaluation: str  # dataset and protocol
    differences: tuple[ScoreDifference, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingChange:
    """A setting whose value differs between two runs; both values are shown as JSON."""

    key: str
    before: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AblationRow:
    """A run that differs from a baseline in a few settings, and the differences in its scores."""

    run: str
    changes: tuple[SettingChange, ...]
    differences: tuple[ScoreDifference, ...]  # the baseline comes first in each

    @property
    def is_other_seed(self) -> bool:
        """Whether it is the baseline itself, trained with another seed."""
        return [change.key for change in self.changes] == [SEED]

    def difference_in(self, measure: str) -> ScoreDifference:
        """Pick a measure's difference."""
        return next(one for one in self.differences if one.measure == measure)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ablation:
    """The runs that are near one baseline; at least one."""

    baseline: str
    evaluation: str  # dataset and protocol
    runs: tuple[AblationRow, ...]

    def scores_of_seeds(self, measure: str) -> tuple[float, ...]:
        """List the baseline's scores with each seed, the baseline itself first."""
        others = [one.difference_in(measure).second for one in self.runs if one.is_other_seed]
        return (self.runs[0].difference_in(measure).first, *others)


@dataclass(frozen=True, slots=True)
class PublishedBaseline:
    """A published result on Market-1501, in percent, without re-ranking."""

    method: str
    initialisation: str
    mean_average_precision: float
    rank_1: float
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """Content of the page."""

    runs: tuple[RunSummary, ...]
    pairs: tuple[RunPair, ...]
    uncompared: tuple[str, ...]  # runs whose records do not say how each query fared
    published_baselines: tuple[PublishedBaseline, ...]
    ablation: Ablation | None = None
    """Runs shown by their difference to a baseline only; they are not among `runs`."""


PUBLISHED_BASELINES = tuple(
    PublishedBaseline(*row)
    for row in (
        ("OSNet, 350 epochs", "random", 81.0, 93.6, "Zhou et al. 2019, arXiv:1905.00953"),
        ("HACNN", "random", 75.7, 91.2, "Li et al. 2018, arXiv:1802.08122"),
        ("BoT, ResNet-50", "ImageNet", 86.1, 94.4, "Luo et al. 2019, arXiv:1903.07071"),
        ("CLIP-ReID, RN50", "OpenAI CLIP", 89.8, 95.7, "Li et al. 2023, arXiv:2211.13977"),
        ("CLIP-ReID, ViT-B/16", "OpenAI CLIP", 89.6, 95.5, "Li et al. 2023, arXiv:2211.13977"),
        (
            "SOLIDER, Swin-B",
            "person images (LUPerson, self-supervised)",
            93.9,
            96.9,
            "Chen et al. 2023, arXiv:2303.17602",
        ),
    )
)
"""Published results; comparable only with runs on the whole of Market-1501."""
