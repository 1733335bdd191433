"""What is kept of an evaluation, as plain numbers and words; imports no torch.

A record is JSON of this module's shapes. Records made before digests were kept have fewer parts:
those are None here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reid.domain.values.recipes import RerankingRecipe
from reid.domain.values.reports import EvaluationReport

EVALUATION = "evaluation"
"""Name of the record of a run's own dataset by the usual protocol."""

ELSEWHERE_PREFIX = f"{EVALUATION}-on-"
"""Begins the names of evaluations on other datasets than the run's own."""

QUERIES_SUFFIX = ".queries"
"""Follows an evaluation's name in the name of the record of its single queries."""

RECORD_VERSION = 2
"""Of evaluations' records; the first had no digests and no number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitRecord:
    """One list of pictures that an evaluation knew."""

    digest: str
    num_identities: int
    num_images: int
    num_cameras: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRecord:
    """Scores, and what they are the scores of."""

    name: str
    """`evaluation`, or that and what is peculiar to it: `evaluation-reranked`."""

    dataset: str
    encoder: Mapping[str, Any]
    report: EvaluationReport
    data: Mapping[str, SplitRecord] | None = None
    """By split; training pictures are missing where the dataset has none."""

    weights_digest: str | None = None
    settings: Mapping[str, Any] | None = None
    """What the evaluation depends on beside data and weights, as nested settings."""

    seconds: float | None = None
    circumstances: Mapping[str, Any] | None = None

    @property
    def is_complete(self) -> bool:
        """Whether it can be compared with others and checked again."""
        return None not in (self.data, self.weights_digest, self.settings)

    def digest_of(self, split: str) -> str | None:
        """Tell a list's digest; None where it is not recorded."""
        found = (self.data or {}).get(split)
        return found.digest if found else None

    @property
    def architecture(self) -> tuple[str, ...]:
        """Name size and stride where the encoder says them, in words for a file's name."""
        options = self.encoder.get("options") or {}
        size, stride = options.get("image_size"), options.get("stride")
        words = ("x".join(map(str, size)) if size else "", f"stride{stride}" if stride else "")
        return tuple(word for word in words if word)

    @property
    def peculiarities(self) -> tuple[str, ...]:
        """Name what is not the usual protocol, in words that can stand in a file's name."""
        settings = self.settings or {}
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
        """Name the dataset, and what is not the usual protocol."""
        return ", ".join((self.dataset, *self.peculiarities))

    @classmethod
    def parse(cls, name: str, content: Mapping[str, Any]) -> "EvaluationRecord":
        """Read a record.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: It has not the shape of a record.
        """
        data = content.get("data")
        return cls(
            name=name,
            dataset=str(content["dataset"]),
            encoder=dict(content["encoder"]),
            report=_parse_report(content["report"]),
            data=None if data is None else {s: SplitRecord(**known) for s, known in data.items()},
            weights_digest=content.get("weights_digest"),
            settings=content.get("settings"),
            seconds=content.get("seconds"),
            circumstances=content.get("circumstances"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryRecord:
    """How each query fared, in the order of the dataset's list."""

    query: Sequence[str]
    """Names of the pictures."""

    average_precision: Sequence[float]
    inverse_negative_penalty: Sequence[float]
    first_match_rank: Sequence[int]
    num_matches: Sequence[int]
    query_digest: str
    """Of the list of queries."""

    weights_digest: str

    def __post_init__(self) -> None:
        """Refuse columns that disagree."""
        columns = (
            self.average_precision,
            self.inverse_negative_penalty,
            self.first_match_rank,
            self.num_matches,
        )
        lengths = {len(column) for column in (self.query, *columns)}
        if len(lengths) != 1:
            raise ValueError(f"columns of different lengths: {sorted(lengths)}")
        if not all(isinstance(value, int | float) for column in columns for value in column):
            raise ValueError("a score is not a number")


def _parse_report(content: Mapping[str, Any]) -> EvaluationReport:
    reranking = content.get("reranking")
    fields = dict(content) | {
        "cmc": tuple(content["cmc"]),
        "reranking": None if reranking is None else RerankingRecipe(**reranking),
    }
    return EvaluationReport(**fields)
