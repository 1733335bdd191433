"""Identify the person of a query, or reject it as unknown.

Letters: Q queries, N query images, K answers, P people, D width.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import assert_never

import torch
from torch import Tensor

from reid.domain.errors import ConfigurationError, NoAnswerError
from reid.domain.ranking.distances import distances, rank
from reid.domain.ranking.fusion import (
    RankedIdentities,
    rank_by_best,
    rank_by_mean,
    rank_by_vote,
)
from reid.domain.ranking.reranking import reranked_distances
from reid.domain.services.decisions import Decision
from reid.domain.services.gallery import Gallery
from reid.domain.services.identity_means import PersonMeans
from reid.domain.services.queries import Query
from reid.domain.values.galleries import EVERYTHING, GalleryFilter, KeptImage, require_images
from reid.domain.values.open_set import Fusion, FusionRecipe
from reid.domain.values.ranking import Neighbours
from reid.domain.values.recipes import RerankingRecipe
from reid.domain.values.reports import Identification, RankedImage

QUESTION_CHUNK = 256
"""Queries searched at once: bounds answers and records held."""

CANDIDATE_IMAGES = 100
"""Nearest images whose people are compared by their mean: comparing with everybody would read the
whole gallery for each query."""

SEARCHED_FIRST = 32
"""Answers requested at first: mostly they include a second person."""


@dataclass(frozen=True, slots=True)
class _Answers:
    """Gallery images for one query, nearest first."""

    query: Query
    vector: Tensor
    """(D,)"""

    images: Sequence[RankedImage]

    def among(self, means: PersonMeans) -> "_Answers":
        """Leave out people who were removed since the search and so have no mean."""
        return replace(self, images=[image for image in self.images if image.label in means])


def require_rerankable(recipe: FusionRecipe, reranking: RerankingRecipe | None) -> None:
    """Raise a ConfigurationError if means are to be re-ranked."""
    if reranking is not None and recipe.fusion is Fusion.MEAN:
        raise ConfigurationError(
            "identify.fusion: the mean of a person's images has no re-ranked distance; "
            "re-rank with best or vote, or turn identify.rerank off"
        )


class Identifier:
    """Names people by a gallery's images of them."""

    def __init__(
        self,
        gallery: Gallery,
        *,
        recipe: FusionRecipe,
        top_k: int,
        decision: Decision | None = None,
        reranking: RerankingRecipe | None = None,
        within: GalleryFilter = EVERYTHING,
    ) -> None:
        """Keep the parts.

        Args:
            gallery: Known people.
            recipe: How similarities to the images of a person become one.
            top_k: Gallery images shown with each answer.
            decision: Threshold and confidence; None accepts every match.
            reranking: Order images by k-reciprocal re-ranking among all queries and the whole
                gallery; similarities stay cosines.
            within: Which gallery images are searched.

        Raises:
            ConfigurationError: Means are to be re-ranked.
        """
        require_rerankable(recipe, reranking)
        self._gallery = gallery
        self._recipe = recipe
        self._top_k = top_k
        self._decision = decision or Decision()
        self._reranking = reranking
        self._within = within

    def identify(self, queries: Sequence[Query], vectors: Tensor) -> tuple[Identification, ...]:
        """Name the person of every query.

        Args:
            queries: Q.
            vectors: (Q, D) float32, rows of unit L2 norm, by the gallery's encoder.

        Returns:
            An answer per query, in the order of the queries.

        Raises:
            GalleryError: The gallery is empty or damaged.
            NoAnswerError: It holds no answer to a query.
        """
        search = self._searched if self._reranking is None else self._reranked
        means = PersonMeans(self._gallery, within=self._within)
        found: list[Identification] = []
        for answers in search(queries, vectors):
            known = answers
            if self._recipe.fusion is Fusion.MEAN:
                means.add(image.label for one in answers for image in one.images)
                known = [one.among(means) for one in answers]
            found.extend(self._identification(one, means=means) for one in known)
        return tuple(found)

    def _searched(self, queries: Sequence[Query], vectors: Tensor) -> Iterator[Sequence[_Answers]]:
        """Request a few answers, and more where they do not include a second person."""
        first = max(self._wanted, SEARCHED_FIRST)
        if self._recipe.fusion is Fusion.MEAN:
            first = max(first, CANDIDATE_IMAGES)
        for start in range(0, len(queries), QUESTION_CHUNK):
            rows = slice(start, start + QUESTION_CHUNK)
            chunk, asked = queries[rows], vectors[rows]
            answers = self._visible(chunk, asked, self._searched_for(asked, first))
            short = [row for row, one in enumerate(answers) if self._is_short(one)]
            if short and first < self._gallery.describe().num_images:
                depth = max(first, self._deep_enough([answers[row] for row in short]))
                more = self._searched_for(asked[short], depth)
                deeper = self._visible([chunk[row] for row in short], asked[short], more)
                for row, one in zip(short, deeper, strict=True):
                    answers[row] = one
            yield answers

    def _reranked(self, queries: Sequence[Query], vectors: Tensor) -> Iterator[Sequence[_Answers]]:
        """Compare all queries with all images, block by block."""
        recipe = self._reranking or RerankingRecipe()
        require_images(self._gallery.describe(), place=self._gallery.place)
        images = [image for image in self._gallery.images() if self._within.admits(image)]
        if not images:
            raise self._no_answer(queries[0])
        keys = torch.tensor([image.key for image in images])  # (G,)
        kept = self._gallery.vectors(keys.tolist())  # (G, D)
        # The query's own person may be hidden, and the nearest images be all of one other person.
        largest = max(Counter(image.label for image in images).values())
        depth = self._wanted + 2 * largest + 1
        start = 0
        for block in reranked_distances(vectors, kept, recipe=recipe):
            asked = vectors[start : start + len(block)]  # (B, D)
            nearest = rank(block, k=depth)  # (B, K)
            cosine_distances = distances(asked, kept).gather(1, nearest)  # (B, K)
            neighbours = Neighbours(indices=keys[nearest], distances=cosine_distances)
            yield self._visible(queries[start : start + len(block)], asked, neighbours)
            start += len(block)

    def _searched_for(self, vectors: Tensor, k: int) -> Neighbours:
        return self._gallery.search(vectors, k, within=self._within)

    def _no_answer(self, query: Query) -> NoAnswerError:
        looked_at = self._within.words()
        advice = f"look at more than images {looked_at}, or add" if looked_at else "add"
        return NoAnswerError(
            place=self._gallery.place,
            name=query.images[0].name,
            advice=f"{advice} images of others",
        )

    @property
    def _wanted(self) -> int:
        votes = self._recipe.votes if self._recipe.fusion is Fusion.VOTE else 1
        return max(self._top_k, votes)

    def _deep_enough(self, short: Sequence[_Answers]) -> int:
        """Count the answers that must include people other than those found and the query's own.

        The query's own person may be hidden, and the nearest images be all of one other person.
        """
        groups = [_people_of(one) for one in short]
        images = self._gallery.images(labels=sorted(set[str]().union(*groups)))
        sizes = Counter(image.label for image in images)
        most = max(sum(sizes[label] for label in group) for group in groups)
        return self._wanted + most + 1

    def _is_short(self, answers: _Answers) -> bool:
        labels = {image.label for image in answers.images}
        return len(labels) < 2 or len(answers.images) < self._wanted

    def _visible(
        self, queries: Sequence[Query], vectors: Tensor, neighbours: Neighbours
    ) -> list[_Answers]:
        keys = torch.unique(neighbours.indices[neighbours.indices >= 0]).tolist()
        records = {image.key: image for image in self._gallery.images(keys=keys)}
        rows = zip(neighbours.indices.tolist(), neighbours.distances.tolist(), strict=True)
        return [
            _Answers(query, vector, _ranked(query, found, away, records=records))
            for query, vector, (found, away) in zip(queries, vectors, rows, strict=True)
        ]

    def _identification(self, answers: _Answers, *, means: PersonMeans) -> Identification:
        query = answers.query
        first = query.images[0]
        if not answers.images:
            raise self._no_answer(query)
        labels = list(dict.fromkeys(image.label for image in answers.images))
        ranked = self._rank(answers, labels=labels, means=means)
        people = [labels[person] for person in ranked.people.tolist()]
        similarities = ranked.similarities.tolist()
        has_runner_up = len(people) > 1
        return Identification(
            name=first.name,
            label=people[0],
            similarity=similarities[0],
            runner_up_label=people[1] if has_runner_up else None,
            runner_up_similarity=similarities[1] if has_runner_up else None,
            images=tuple(answers.images[: self._top_k]),
            true_label=query.label,
            names=tuple(one.name for one in query.images) if len(query.images) > 1 else (),
            camera=first.camera,
            confidence=self._decision.confidence(similarities[0]),
            is_unknown=self._decision.is_unknown(similarities[0]),
        )

    def _rank(
        self, answers: _Answers, *, labels: Sequence[str], means: PersonMeans
    ) -> RankedIdentities:
        numbers = {label: number for number, label in enumerate(labels)}
        people = torch.tensor([numbers[image.label] for image in answers.images])
        similarities = torch.tensor([image.similarity for image in answers.images])
        match self._recipe.fusion:
            case Fusion.MEAN:
                directions = [
                    means.for_query(answers.query, answers.vector, label) for label in labels
                ]
                return rank_by_mean(
                    answers.vector, torch.arange(len(labels)), torch.stack(directions)
                )
            case Fusion.VOTE:
                votes = self._recipe.votes
            case Fusion.BEST if self._reranking is not None:
                votes = 1
            case Fusion.BEST:
                return rank_by_best(similarities, people)
            case _:
                assert_never(self._recipe.fusion)
        return rank_by_vote(similarities, people, votes=votes, temperature=self._recipe.temperature)


def _people_of(answers: _Answers) -> set[str]:
    """List the labels that were found, and the query's own where it is known."""
    own = answers.query.label
    return {image.label for image in answers.images} | ({own} if own is not None else set())


def _ranked(
    query: Query,
    keys: Sequence[int],
    away: Sequence[float],
    *,
    records: Mapping[int, KeptImage],
) -> list[RankedImage]:
    """List the answers that a query admits, without images that were removed since."""
    return [
        RankedImage(
            name=records[key].name,
            label=records[key].label,
            similarity=1.0 - distance,
            camera=records[key].camera,
            key=key,
        )
        for key, distance in zip(keys, away, strict=True)
        if key in records and not query.hides(records[key], similarity=1.0 - distance)
    ]
