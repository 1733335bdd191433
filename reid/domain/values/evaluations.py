"""Records of evaluations, and differences of their scores; imports no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from reid.domain.values.recipes import RerankingRecipe
from reid.domain.values.reports import EvaluationReport
from reid.domain.values.samples import UnreadableImage

EVALUATION = "evaluation"  # name of the record of a run's own dataset by the usual protocol
ELSEWHERE_PREFIX = f"{EVALUATION}-on-"
"""Begins the names of evaluations on other datasets than the run's own."""

QUERIES_SUFFIX = ".queries"
"""Follows an evaluation's name in the name of the record of its single queries."""

RECORD_VERSION = 1

SIGNIFICANCE = 0.05  # differences at least this likely by chance alone are called insignificant
NUM_RESAMPLES = 10_000
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitRecord:
    """One list of images of an evaluation."""

    digest: str
    num_identities: int
    num_images: int
    num_cameras: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryRecord:
    """How each query fared, in the order of the dataset's list."""

    query: Sequence[str]  # names of the images
    average_precision: Sequence[float]
    inverse_negative_penalty: Sequence[float]
    first_match_rank: Sequence[int]
    num_matches: Sequence[int]
    query_digest: str  # of the list of queries
    weights_digest: str

    def __post_init__(self) -> None:
        """Refuse columns that disagree."""
        names = ("average_precision", "inverse_negative_penalty", "first_match_rank", "num_matches")
        columns = [getattr(self, name) for name in names]
        lengths = {len(column) for column in (self.query, *columns)}
        if len(lengths) != 1:
            raise ValueError(f"columns of different lengths: {sorted(lengths)}")
        if not all(isinstance(value, int | float) for column in columns for value in column):
            raise ValueError("a score is not a number")


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRecord:
    """Scores, and everything that they depend on."""

    name: str  # `evaluation`, or that and the variant: `evaluation-reranked`
    dataset: str
    encoder: Mapping[str, Any]
    report: EvaluationReport
    data: Mapping[str, SplitRecord]  # training images are missing where the dataset has none
    weights_digest: str
    settings: Mapping[str, Any]  # nested; the scores depend on these, data and weights
    seconds: float
    environment: Mapping[str, Any]
    left_out: tuple[UnreadableImage, ...] = ()
    queries: QueryRecord | None = None  # in a file of its own; None where read from a file

    def digest_of(self, split: str) -> str | None:
        """Return a list's digest; None where the dataset has no such list."""
        found = self.data.get(split)
        return found.digest if found else None

    @property
    def architecture(self) -> tuple[str, ...]:
        """Size and stride where the encoder has them, as parts of a file's name."""
        options = self.encoder.get("options") or {}
        size, stride = options.get("image_size"), options.get("stride")
        words = ("x".join(map(str, size)) if size else "", f"stride{stride}" if stride else "")
        return tuple(word for word in words if word)

    @property
    def variant(self) -> tuple[str, ...]:
        """Names of what differs from the usual protocol, as parts of a file's name."""
        settings = self.settings
        ignores_cameras = not settings.get("evaluation", {}).get("use_cameras", True)
        knows_cameras = bool((self.encoder.get("options") or {}).get("num_cameras"))
        precision = settings.get("encoder", {}).get("precision", "fp32")
        found = {
            "reranked": self.report.reranking is not None,
            str(settings.get("index", {}).get("kind", "approximate")): not self.report.is_exact,
            "same-camera": not self.report.is_same_camera_removed,
            "no-cameras": ignores_cameras and knows_cameras,
            str(precision): precision != "fp32",
        }
        return tuple(name for name, holds in found.items() if holds)

    @property
    def words(self) -> str:
        """The dataset, and what differs from the usual protocol, for people."""
        return ", ".join((self.dataset, *self.variant))

    @property
    def content(self) -> dict[str, Any]:
        """The record as it is kept, its queries left out."""
        content = {"version": RECORD_VERSION, **asdict(replace(self, queries=None))}
        del content["queries"]
        if not self.left_out:
            del content["left_out"]
        return content

    @classmethod
    def parse(cls, name: str, content: Mapping[str, Any]) -> "EvaluationRecord":
        """Read a record.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: It does not have the shape of a record.
        """
        report = dict(content["report"])
        reranking = report["reranking"]
        report["cmc"] = tuple(report["cmc"])
        report["reranking"] = None if reranking is None else RerankingRecipe(**reranking)
        return cls(
            name=name,
            dataset=str(content["dataset"]),
            encoder=dict(content["encoder"]),
            report=EvaluationReport(**report),
            data={split: SplitRecord(**known) for split, known in content["data"].items()},
            weights_digest=content["weights_digest"],
            settings=dict(content["settings"]),
            seconds=content["seconds"],
            environment=dict(content["environment"]),
            left_out=tuple(UnreadableImage(**bad) for bad in content.get("left_out", ())),
        )


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
