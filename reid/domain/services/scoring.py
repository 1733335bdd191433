"""Rank a gallery for queries, score the ranking, and analyse it.

Letters: Q queries, G gallery, K answers.
"""

import torch

from reid.domain.ranking.analysis import (
    Lists,
    camera_of,
    camera_pairs,
    choose_people,
    hardest_queries,
    similarity_histogram,
)
from reid.domain.ranking.exact_scores import score_distances, score_embeddings
from reid.domain.ranking.metrics import QueryScores, score_rankings, summarise
from reid.domain.ranking.reranking import reranked_distances
from reid.domain.values.analyses import AnalysisRecipe, EvaluationAnalysis, MapPoint
from reid.domain.values.features import EmbeddingSet
from reid.domain.values.recipes import RerankingRecipe
from reid.domain.values.reports import EvaluationReport
from reid.ports.pages import MapMaker
from reid.ports.vector_index import VectorIndex

MIN_IMAGES = 8  # a map of fewer is not drawn
QUERY_CHUNK = 256  # queries searched at once in an approximate index: bounds memory
APPROXIMATE_DEPTH = 1000  # an approximate index's answers; true matches beyond them are missed


def score_queries(
    queries: EmbeddingSet,
    gallery: EmbeddingSet,
    *,
    index: VectorIndex,
    reranking: RerankingRecipe | None = None,
    remove_same_camera: bool = True,
) -> tuple[EvaluationReport, QueryScores]:
    """Score the ranking of embedded images, as averages and query by query in list order.

    An exact index ranks by distance and gallery row. That order is known without the index, so the
    ranks of the true matches are counted instead. An approximate index is searched.

    Args:
        queries: Rows of unit L2 norm.
        gallery: On the same device, rows of unit L2 norm.
        index: Filled and searched if it is approximate.
        reranking: Re-rank with these parameters, without the index; None does not re-rank.
        remove_same_camera: Leave out gallery images of the query's own person and camera, as the
            Market-1501 protocol does.

    Raises:
        EvaluationError: No query has a true match, or an embedding is not finite.
        VectorIndexError: The index cannot be built.
    """
    uses_index = reranking is None and not index.is_exact
    if reranking is not None:
        distances = reranked_distances(queries.vectors, gallery.vectors, recipe=reranking)
        scores = score_distances(
            distances, queries=queries, gallery=gallery, remove_same_camera=remove_same_camera
        )
    elif uses_index:
        scores = _score_by(index, queries, gallery, remove_same_camera=remove_same_camera)
    else:
        scores = score_embeddings(queries, gallery, remove_same_camera=remove_same_camera)
    report = summarise(
        scores,
        num_gallery=len(gallery),
        is_same_camera_removed=remove_same_camera,
        is_exact=not uses_index,
        index_recall=index.recall if uses_index else 1.0,
        reranking=reranking,
    )
    return report, scores


def _score_by(
    index: VectorIndex, queries: EmbeddingSet, gallery: EmbeddingSet, *, remove_same_camera: bool
) -> QueryScores:
    index.build(gallery.vectors)
    depth, parts = min(len(gallery), APPROXIMATE_DEPTH), []
    for start in range(0, max(1, len(queries)), QUERY_CHUNK):
        chunk = queries.part(start, start + QUERY_CHUNK)
        ranking = index.search(chunk.vectors, depth).indices
        parts.append(
            score_rankings(
                ranking, queries=chunk, gallery=gallery, remove_same_camera=remove_same_camera
            )
        )
    return QueryScores.concatenate(parts)


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

    The sets and lists are those of `hardest_queries`, the scores by the exact ranking.
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
