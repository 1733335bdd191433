"""What lies behind an evaluation's averages, as plain numbers; imports no torch."""

from dataclasses import dataclass

from reid.domain.values.reports import RankedImage


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysisRecipe:
    """How much is looked at."""

    num_bins: int = 100  # of histograms of similarities in -1..1
    num_hardest: int = 24
    num_ranked: int = 8  # images shown of each hard query at most, beside the match
    map_identities: int = 30
    map_images: int = 600
    perplexity: float = 30.0  # of the map: about how many neighbours count for each image


@dataclass(frozen=True, slots=True, kw_only=True)
class SimilarityHistogram:
    """How similar query and gallery images are: pairs counted by cosine, in bins of one width."""

    edges: tuple[float, ...]  # one more than bins, ascending
    same: tuple[int, ...]  # pairs of one person that count as true matches
    different: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraPairs:
    """mAP of one camera's queries against one camera's gallery images."""

    query_cameras: tuple[int, ...]  # zero-based, ascending
    gallery_cameras: tuple[int, ...]
    mean_average_precision: tuple[tuple[float | None, ...], ...]
    """A row per query camera; None where no query has a match there."""
    num_queries: tuple[tuple[int, ...], ...]  # with a match


@dataclass(frozen=True, slots=True, kw_only=True)
class HardQuery:
    """A query that fared badly."""

    name: str
    label: str
    camera: str
    average_precision: float
    first_match_rank: int
    num_matches: int
    above: tuple[RankedImage, ...]
    """Images ranked above the first match, nearest first, up to a limit."""
    match: RankedImage


@dataclass(frozen=True, slots=True, kw_only=True)
class MapLayout:
    """Where vectors lie in two dimensions."""

    places: tuple[tuple[float, float], ...]  # of each vector; empty where there is no map
    method: str  # or why there is no map


@dataclass(frozen=True, slots=True, kw_only=True)
class MapPoint:
    """An image in two dimensions."""

    x: float
    y: float
    label: str
    camera: str
    is_query: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationAnalysis:
    """The whole analysis."""

    histogram: SimilarityHistogram
    camera_pairs: CameraPairs
    hardest: tuple[HardQuery, ...]  # lowest average precision first
    points: tuple[MapPoint, ...]  # of a sample; empty where there is no map
    map_method: str  # or why there is no map
