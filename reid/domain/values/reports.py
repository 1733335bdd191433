"""Answers of commands, as plain numbers and words; imports no torch."""

from dataclasses import dataclass

from reid.domain.values.recipes import RerankingRecipe


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationReport:
    """How well a gallery was ranked for the queries; all scores are shares in 0..1."""

    cmc: tuple[float, ...]
    """CMC[k - 1]: share of valid queries whose first true match has rank k or better."""
    mean_average_precision: float
    mean_inverse_negative_penalty: float
    """mINP (Ye et al. 2021, arXiv:2001.04193, eq. 9): how early the last true match comes."""
    num_queries: int
    num_valid_queries: int  # queries with a true match in the gallery; the others do not count
    num_gallery: int
    is_same_camera_removed: bool
    """Whether gallery images of the query's own person and camera were left out."""
    is_exact: bool
    index_recall: float
    """Share of gallery images whose nearest other one the index finds; 1 where exact."""
    reranking: RerankingRecipe | None = None

    @property
    def measures(self) -> dict[str, float]:
        """The scores by their usual names."""
        return {
            "mAP": self.mean_average_precision,
            "mINP": self.mean_inverse_negative_penalty,
            **{f"Rank-{k}": self.rank(k) for k in (1, 5, 10)},
        }

    def rank(self, k: int) -> float:
        """CMC at rank k; past the end of the curve its last value."""
        return self.cmc[min(k, len(self.cmc)) - 1]


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedImage:
    """One gallery image in the answer for a query."""

    name: str
    label: str
    similarity: float  # cosine, in -1..1
    camera: str | None = None
    key: int | None = None  # the image's key in its gallery; None where it comes from no gallery


@dataclass(frozen=True, slots=True, kw_only=True)
class Identification:
    """The answer for one query: an image, or several images of one person."""

    name: str  # of the first one, where the query has several images
    label: str | None  # the most similar person, also where `is_unknown`; None: nobody is known
    similarity: float | None
    """Cosine, in -1..1, the images of the person fused as requested; None where nobody is known."""
    runner_up_label: str | None  # best other label; None where none was among the answers
    runner_up_similarity: float | None
    images: tuple[RankedImage, ...]
    true_label: str | None = None
    """The query's own label where it has one, known to the gallery or not."""
    names: tuple[str, ...] = ()  # all images of the query where there are several, else empty
    camera: str | None = None  # the query's own, where known
    confidence: float | None = None
    """Probability that the label is right, in 0..1; None where nothing was calibrated."""
    is_unknown: bool | None = None
    """Whether the similarity is below the threshold: the query is rejected. None where no threshold
    is set, so that nothing was decided."""
    threshold: float | None = None
