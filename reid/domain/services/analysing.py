"""Analyse an evaluation."""

from collections.abc import Sequence

import torch

from reid.domain.ranking.analysis import (
    RankedRows,
    camera_pairs,
    choose_people,
    hardest_queries,
    similarity_histogram,
)
from reid.domain.ranking.metrics import QueryScores
from reid.domain.values.analyses import AnalysisRecipe, EvaluationAnalysis, HardQuery, MapPoint
from reid.domain.values.features import EmbeddingSet
from reid.domain.values.reports import RankedImage
from reid.domain.values.samples import Sample
from reid.ports.maps import MapMaker

MIN_IMAGES = 8
"""A map of fewer is not drawn."""


def analyse(
    queries: EmbeddingSet,
    gallery: EmbeddingSet,
    *,
    scores: QueryScores,
    lists: tuple[Sequence[Sample], Sequence[Sample]],
    recipe: AnalysisRecipe,
    map_maker: MapMaker,
    remove_same_camera: bool = True,
) -> EvaluationAnalysis:
    """Analyse pairs of cameras, similarities and the hardest queries, and map a sample.

    Args:
        queries: Rows of unit L2 norm.
        gallery: Rows of unit L2 norm.
        scores: Of the queries, by the exact ranking.
        lists: The samples of queries and gallery, in the order of the rows.
        recipe: Extent of the analysis.
        map_maker: Lays out the sample.
        remove_same_camera: Whether the same-camera rule applies.
    """
    hardest = hardest_queries(
        scores,
        queries=queries,
        gallery=gallery,
        num_queries=recipe.num_hardest,
        num_ranked=recipe.num_ranked,
        remove_same_camera=remove_same_camera,
    )
    points, method = _map(queries, gallery, lists=lists, recipe=recipe, map_maker=map_maker)
    return EvaluationAnalysis(
        histogram=similarity_histogram(
            queries, gallery, num_bins=recipe.num_bins, remove_same_camera=remove_same_camera
        ),
        camera_pairs=camera_pairs(queries, gallery, remove_same_camera=remove_same_camera),
        hardest=tuple(_hard(rows, scores=scores, lists=lists) for rows in hardest),
        points=points,
        map_method=method,
    )


def _hard(
    rows: RankedRows, *, scores: QueryScores, lists: tuple[Sequence[Sample], Sequence[Sample]]
) -> HardQuery:
    sample = lists[0][rows.query]

    def ranked(row: int, similarity: float) -> RankedImage:
        known = lists[1][row]
        return RankedImage(
            name=known.name,
            label=str(known.pid),
            similarity=similarity,
            camera=_camera_of(known),
        )

    return HardQuery(
        name=sample.name,
        label=str(sample.pid),
        camera=_camera_of(sample),
        average_precision=float(scores.average_precision[rows.query]),
        first_match_rank=int(scores.first_match_rank[rows.query]),
        num_matches=int(scores.num_matches[rows.query]),
        above=tuple(ranked(*one) for one in rows.above),
        match=ranked(*rows.match),
    )


def _map(
    queries: EmbeddingSet,
    gallery: EmbeddingSet,
    *,
    lists: tuple[Sequence[Sample], Sequence[Sample]],
    recipe: AnalysisRecipe,
    map_maker: MapMaker,
) -> tuple[tuple[MapPoint, ...], str]:
    asked, known = choose_people(
        queries.pids.cpu(),
        gallery.pids.cpu(),
        num_identities=recipe.map_identities,
        num_images=recipe.map_images,
    )
    if len(asked) + len(known) < MIN_IMAGES:
        return (), f"fewer than {MIN_IMAGES} images"
    vectors = torch.cat([queries.vectors.cpu()[asked], gallery.vectors.cpu()[known]])
    layout = map_maker(vectors, perplexity=recipe.perplexity)
    if not layout.places:
        return (), layout.method
    samples = [lists[0][row] for row in asked.tolist()] + [lists[1][row] for row in known.tolist()]
    points = tuple(
        MapPoint(x=x, y=y, label=str(one.pid), camera=_camera_of(one), is_query=number < len(asked))
        for number, ((x, y), one) in enumerate(zip(layout.places, samples, strict=True))
    )
    people = len({point.label for point in points})
    return points, f"{layout.method}; {len(points)} images of {people} people"


def _camera_of(sample: Sample) -> str:
    """Name a camera as Market-1501 does, from 1."""
    return str(sample.camid + 1)
