"""Analyse an evaluation."""

import torch

from reid.domain.ranking.analysis import (
    Lists,
    camera_of,
    camera_pairs,
    choose_people,
    hardest_queries,
    similarity_histogram,
)
from reid.domain.ranking.metrics import QueryScores
from reid.domain.values.analyses import AnalysisRecipe, EvaluationAnalysis, MapPoint
from reid.domain.values.features import EmbeddingSet
from reid.ports.maps import MapMaker

MIN_IMAGES = 8  # a map of fewer is not drawn


def analyse(
    queries: EmbeddingSet,
    gallery: EmbeddingSet,
    *,
    scores: QueryScores,
    lists: Lists,
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
    points, method = _map(queries, gallery, lists=lists, recipe=recipe, map_maker=map_maker)
    return EvaluationAnalysis(
        histogram=similarity_histogram(
            queries, gallery, num_bins=recipe.num_bins, remove_same_camera=remove_same_camera
        ),
        camera_pairs=camera_pairs(queries, gallery, remove_same_camera=remove_same_camera),
        hardest=hardest_queries(
            scores,
            queries=queries,
            gallery=gallery,
            lists=lists,
            recipe=recipe,
            remove_same_camera=remove_same_camera,
        ),
        points=points,
        map_method=method,
    )


def _map(
    queries: EmbeddingSet,
    gallery: EmbeddingSet,
    *,
    lists: Lists,
    recipe: AnalysisRecipe,
    map_maker: MapMaker,
) -> tuple[tuple[MapPoint, ...], str]:
    """Lay out a sample of people; return how it was made, or why there is no map."""
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
        MapPoint(x=x, y=y, label=str(one.pid), camera=camera_of(one), is_query=number < len(asked))
        for number, ((x, y), one) in enumerate(zip(layout.places, samples, strict=True))
    )
    people = len({point.label for point in points})
    return points, f"{layout.method}; {len(points)} images of {people} people"
