"""Differences between the scores of two evaluations; imports no torch."""

from dataclasses import dataclass

SIGNIFICANCE = 0.05
"""Differences at least this likely by chance alone are called insignificant."""

NUM_RESAMPLES = 10_000
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreDifference:
    """One measure of two evaluations of the same queries; shares in 0..1."""

    measure: str  # `mAP`, `mINP`, `Rank-1`, `Rank-5` or `Rank-10`
    first: float
    second: float
    low: float  # lower end of the confidence interval of the difference
    high: float
    p_value: float  # probability of a difference this large if the two are alike; two-sided

    @property
    def difference(self) -> float:
        """Second minus first."""
        return self.second - self.first

    @property
    def is_significant(self) -> bool:
        """Whether chance alone is an unlikely cause."""
        return self.p_value < SIGNIFICANCE


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedEvaluation:
    """Which evaluation was compared."""

    run: str
    evaluation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonOutcome:
    """Two evaluations beside each other."""

    first: ComparedEvaluation
    second: ComparedEvaluation
    dataset: str
    num_queries: int  # those with a true match
    differences: tuple[ScoreDifference, ...]
    seed: int
    num_resamples: int = NUM_RESAMPLES
    confidence: float = CONFIDENCE
    test: str = "paired sign-flip permutation test, two-sided"
