"""What lies behind an evaluation's averages, as plain numbers; imports no torch."""

from dataclasses import dataclass
from typing import TypeAlias

from reid.domain.values.reports import RankedImage

Shares: TypeAlias = tuple[tuple[float | None, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysisRecipe:
    """How much is looked at."""

    num_bins: int = 100
    """Of the histograms, over similarities in -1..1."""

    num_hardest: int = 24
    """Queries shown with what was ranked above the match."""

    num_ranked: int = 8
    """Images shown of each of them at most, beside the match."""

    map_identities: int = 30
    map_images: int = 600
    """Of the sample that is laid out in two dimensions."""

    perplexity: float = 30.0
    """Of the map: about how many neighbours count for each image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimilarityHistogram:
    """How similar query and gallery images are: cosines in bins of one width."""

    edges: tuple[float, ...]
    """One more than bins, ascending."""

    same: tuple[int, ...]
    """Pairs of one person that count as true matches."""

    different: tuple[int, ...]
    """Pairs of different people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraPairs:
    """mAP of one camera's queries against one camera's gallery images."""

    query_cameras: tuple[int, ...]
    gallery_cameras: tuple[int, ...]
    """Zero-based, ascending."""

    mean_average_precision: Shares
    """A row per query camera; None where no query has a match there."""

    num_queries: tuple[tuple[int, ...], ...]
    """Queries with a match."""


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
    """The first match."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MapLayout:
    """Where vectors lie in two dimensions."""

    places: tuple[tuple[float, float], ...]
    """Of each vector; empty where there is no map."""

    method: str
    """How they were laid out, or why they were not."""


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
    hardest: tuple[HardQuery, ...]
    """Lowest average precision first."""

    points: tuple[MapPoint, ...]
    """Of a sample; empty where there is no map."""

    map_method: str
    """How the map was made, or why there is no map."""
