"""Rank a gallery for queries, and score the ranking.

Letters: Q queries, G gallery, K answers.
"""

from reid.domain.ranking.exact_scores import score_distances, score_embeddings
from reid.domain.ranking.metrics import QueryScores, score_rankings, summarise
from reid.domain.ranking.reranking import reranked_distances
from reid.domain.values.features import EmbeddingSet
from reid.domain.values.recipes import RerankingRecipe
from reid.domain.values.reports import EvaluationReport
from reid.ports.vector_index import VectorIndex

QUERY_CHUNK = 256  # queries searched at once in an approximate index: bounds memory
APPROXIMATE_DEPTH = 1000
"""Answers of an approximate index in evaluation; true matches beyond them count as missed."""


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
        scores = QueryScores.concatenate(parts)
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
