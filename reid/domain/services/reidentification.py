"""Rank a gallery for queries: how well, and who is it.

Letters: Q queries, G gallery, K answers.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from reid.domain.counting import score_distances, score_embeddings
from reid.domain.errors import DatasetError
from reid.domain.metrics import QueryScores, score_rankings, summarise
from reid.domain.reranking import reranked_distances
from reid.domain.services.embedding import Embedder
from reid.domain.values.counts import counted
from reid.domain.values.features import EmbeddingSet
from reid.domain.values.ranking import Neighbours
from reid.domain.values.recipes import RerankingRecipe
from reid.domain.values.reports import EvaluationReport, Identification, RankedPicture
from reid.domain.values.samples import Picture, Split
from reid.ports.dataset import Dataset, PictureSource
from reid.ports.vector_index import VectorIndex

QUERY_CHUNK = 256
"""Queries asked of an approximate index at once: bounds memory to a few answers each."""

APPROXIMATE_DEPTH = 1000
"""Answers asked of an approximate index in evaluation; true matches beyond them count as missed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredQueries:
    """An evaluation query by query, beside its averages."""

    report: EvaluationReport
    scores: QueryScores
    """Of all queries, in the order of the dataset's list."""


class Reidentification:
    """Embeds, indexes and ranks."""

    def __init__(self, *, embedder: Embedder, index: VectorIndex) -> None:
        """Keep the parts; nothing is read or computed yet."""
        self._embedder = embedder
        self._index = index

    @property
    def is_exact(self) -> bool:
        """Whether rankings are exact."""
        return self._index.is_exact

    @property
    def index_recall(self) -> float:
        """Share of nearest neighbours that the index built last finds."""
        return self._index.recall

    def uses_cameras_of(self, *sources: Sequence[Picture]) -> bool:
        """Whether `identify` would tell the encoder the cameras of these pictures."""
        camids = _camids_of(*sources, num_cameras=self._embedder.num_cameras)
        return all(source is not None for source in camids)

    def evaluate(
        self,
        dataset: Dataset,
        *,
        reranking: RerankingRecipe | None = None,
        remove_same_camera: bool = True,
    ) -> EvaluationReport:
        """Score the ranking of a dataset's gallery for its queries; see `evaluate_queries`."""
        return self.evaluate_queries(
            dataset, reranking=reranking, remove_same_camera=remove_same_camera
        ).report

    def evaluate_queries(
        self,
        dataset: Dataset,
        *,
        reranking: RerankingRecipe | None = None,
        remove_same_camera: bool = True,
    ) -> ScoredQueries:
        """Score the ranking of a dataset's gallery, and keep the scores of each query.

        Args:
            dataset: Gives both lists and their pictures.
            reranking: Re-rank with these parameters, exactly and without the index; None: do not.
            remove_same_camera: Leave out gallery pictures of the query's own person and camera, as
                the Market-1501 protocol does.

        Raises:
            DatasetError: A list or picture cannot be read.
            EvaluationError: No query has a true match.
        """
        queries, gallery = (
            self._embedder.embed_samples(dataset, dataset.samples(split), subset=split)
            for split in (Split.QUERY, Split.GALLERY)
        )
        return self.score_queries(
            queries, gallery, reranking=reranking, remove_same_camera=remove_same_camera
        )

    def score(
        self,
        queries: EmbeddingSet,
        gallery: EmbeddingSet,
        *,
        reranking: RerankingRecipe | None = None,
        remove_same_camera: bool = True,
    ) -> EvaluationReport:
        """Score the ranking of embedded pictures; see `evaluate`."""
        return self.score_queries(
            queries, gallery, reranking=reranking, remove_same_camera=remove_same_camera
        ).report

    def score_queries(
        self,
        queries: EmbeddingSet,
        gallery: EmbeddingSet,
        *,
        reranking: RerankingRecipe | None = None,
        remove_same_camera: bool = True,
    ) -> ScoredQueries:
        """Score the ranking of embedded pictures, and keep the scores of each query.

        An exact index ranks by distance and, where distances are equal, by gallery row: that order
        is known without it, so the ranks of the true matches are counted rather than the gallery
        ordered, and the index is not asked. An approximate one is asked for its answers.
        """
        uses_index = reranking is None and not self._index.is_exact
        if reranking is not None:
            scores = score_distances(
                reranked_distances(queries.vectors, gallery.vectors, recipe=reranking),
                queries=queries,
                gallery=gallery,
                remove_same_camera=remove_same_camera,
            )
        elif uses_index:
            scores = self._score_answers(queries, gallery, remove_same_camera=remove_same_camera)
        else:
            scores = score_embeddings(queries, gallery, remove_same_camera=remove_same_camera)
        report = summarise(
            scores,
            num_gallery=len(gallery),
            is_same_camera_removed=remove_same_camera,
            is_exact=not uses_index,
            index_recall=self._index.recall if uses_index else 1.0,
            reranking=reranking,
        )
        return ScoredQueries(report=report, scores=scores)

    def identify(
        self, queries: PictureSource, gallery: PictureSource, *, top_k: int
    ) -> tuple[Identification, ...]:
        """Name the person on each query picture by the nearest gallery pictures.

        Args:
            queries: Pictures of the people to name.
            gallery: Labelled pictures.
            top_k: How many gallery pictures each answer shows.

        Returns:
            One answer per readable query picture, in the order of the queries.

        Raises:
            DatasetError: No picture, or a gallery picture without a label.
        """
        asked, known = queries.pictures(), gallery.pictures()
        labels = _labels_of(known)
        camids = _camids_of(asked, known, num_cameras=self._embedder.num_cameras)
        self._index.build(
            self._embedder.embed(
                gallery, [p.image for p in known], camids=camids[1], subset=Split.GALLERY
            )
        )
        vectors = self._embedder.embed(
            queries, [p.image for p in asked], camids=camids[0], subset=Split.QUERY
        )
        # With one answer more than the commonest label has pictures, a second label is among them.
        depth = max(top_k, max(Counter(labels).values()) + 1)
        answers = self._index.search(vectors, depth)
        return tuple(
            _identification(picture, row, answers=answers, gallery=known, top_k=top_k)
            for row, picture in enumerate(asked)
        )

    def _score_answers(
        self, queries: EmbeddingSet, gallery: EmbeddingSet, *, remove_same_camera: bool
    ) -> QueryScores:
        """Score what an approximate index finds."""
        self._index.build(gallery.vectors)
        depth = min(len(gallery), APPROXIMATE_DEPTH)
        scores = []
        for start in range(0, max(1, len(queries)), QUERY_CHUNK):
            chunk = queries.part(start, start + QUERY_CHUNK)
            ranking = self._index.search(chunk.vectors, depth).indices
            scores.append(
                score_rankings(
                    ranking, queries=chunk, gallery=gallery, remove_same_camera=remove_same_camera
                )
            )
        return QueryScores.concatenate(scores)


def _labels_of(gallery: Sequence[Picture]) -> list[str]:
    labels = [picture.label for picture in gallery if picture.label is not None]
    if len(labels) < len(gallery):
        nameless = next(picture.image for picture in gallery if picture.label is None)
        raise DatasetError(
            f"no label on {len(gallery) - len(labels)} of "
            f"{counted(len(gallery), 'gallery picture')}, the first is {nameless}; name "
            "them as in Market-1501 (0002_c1s1_000451_03.jpg), put "
            "them in one sub-folder per person, or give a CSV with the columns path,label"
        )
    return labels


def _camids_of(*sources: Sequence[Picture], num_cameras: int) -> list[Tensor | None]:
    """Number cameras from zero.

    None for all sources where any picture's camera is not one of the encoder's: vectors with and
    without a camera's embedding do not compare.
    """
    known = {str(camera): camera - 1 for camera in range(1, num_cameras + 1)}
    camids = [[known.get(picture.camera or "") for picture in source] for source in sources]
    if any(camid is None for source in camids for camid in source):
        return [None for _ in sources]
    return [torch.tensor(source) for source in camids]


def _identification(
    picture: Picture, row: int, *, answers: Neighbours, gallery: Sequence[Picture], top_k: int
) -> Identification:
    ranked = [
        RankedPicture(
            image=gallery[index].image,
            label=gallery[index].label or "",
            similarity=1.0 - distance,
        )
        for index, distance in zip(
            answers.indices[row].tolist(), answers.distances[row].tolist(), strict=True
        )
        if index >= 0
    ]
    best = ranked[0]
    runner_up = next((other for other in ranked if other.label != best.label), None)
    return Identification(
        image=picture.image,
        label=best.label,
        similarity=best.similarity,
        runner_up_label=runner_up.label if runner_up else None,
        runner_up_similarity=runner_up.similarity if runner_up else None,
        pictures=tuple(ranked[:top_k]),
        true_label=picture.label,
    )
