"""Identify the person of a query, or reject it as unknown.

Letters: Q queries, N query images, K answers, P people, D width.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from reid.domain.errors import NoAnswerError
from reid.domain.ranking.distances import distances, rank
from reid.domain.ranking.fusion import (
    RankedIdentities,
    mean_directions,
    rank_by_best,
    rank_by_mean,
    rank_by_vote,
)
from reid.domain.ranking.reranking import reranked_distances
from reid.domain.services.gallery import Gallery
from reid.domain.services.identification import Decision, IdentificationOptions
from reid.domain.services.queries import OwnImages, Query
from reid.domain.values.features import Neighbours
from reid.domain.values.galleries import GalleryFilter, KeptImage, require_images
from reid.domain.values.open_set import Fusion
from reid.domain.values.recipes import RerankingRecipe
from reid.domain.values.reports import Identification, RankedImage

QUESTION_CHUNK = 256  # queries searched at once: bounds answers and records held
CANDIDATE_IMAGES = 100
"""Nearest images whose people are compared by their mean: comparing with everybody would read the
whole gallery for each query."""

SEARCHED_FIRST = 32  # answers requested at first: mostly they include a second person
_ACCEPTS_ALL = Decision()


@dataclass(frozen=True, slots=True)
class _Answers:
    """Gallery images for one query, nearest first."""

    query: Query
    vector: Tensor  # (D,)
    images: Sequence[RankedImage]

    @property
    def labels(self) -> list[str]:
        """People in the order of their nearest images."""
        return list(dict.fromkeys(image.label for image in self.images))


class _PersonMeans:
    """Means of the images that a filter admits, by label."""

    def __init__(self, gallery: Gallery, *, within: GalleryFilter) -> None:
        self._gallery = gallery
        self._within = within
        self._means: dict[str, Tensor] = {}

    def __contains__(self, label: str) -> bool:
        """Whether a person's mean is known; that of people who were removed meanwhile is not."""
        return label in self._means

    def add(self, labels: Iterable[str]) -> None:
        """Compute the means that are not known yet."""
        images = self._admitted(set(labels) - self._means.keys())
        if not images:
            return
        numbers: dict[str, int] = {}
        groups = [numbers.setdefault(image.label, len(numbers)) for image in images]
        vectors = self._gallery.vectors([image.key for image in images])
        means = mean_directions(vectors, torch.tensor(groups), num_groups=len(numbers))
        self._means.update(zip(numbers, means, strict=True))

    def for_query(self, query: Query, vector: Tensor, label: str) -> Tensor:
        """Compute a known person's (D,) mean, without the images hidden from a (D,) query."""
        if query.own is OwnImages.ALL or label != query.label:
            return self._means[label]
        images = self._admitted({label})
        vectors = self._gallery.vectors([image.key for image in images])
        cosines = zip(images, (vectors @ vector).tolist(), strict=True)
        rows = [
            row
            for row, (image, cosine) in enumerate(cosines)
            if not query.hides(image, similarity=cosine)
        ]
        return mean_directions(vectors[rows], torch.zeros(len(rows)).long(), num_groups=1)[0]

    def _admitted(self, labels: set[str]) -> list[KeptImage]:
        found = self._gallery.images(labels=sorted(labels))
        return [image for image in found if self._within.admits(image)]


@dataclass(frozen=True, slots=True)
class Identifier:
    """Names people by a gallery's images of them."""

    gallery: Gallery
    options: IdentificationOptions
    decision: Decision = _ACCEPTS_ALL

    def identify(self, queries: Sequence[Query], vectors: Tensor) -> tuple[Identification, ...]:
        """Name the person of every query, in the order of the queries.

        The vectors are (Q, D) float32, rows of unit L2 norm, by the gallery's encoder.

        Raises:
            GalleryError: The gallery is empty or damaged.
            NoAnswerError: It holds no answer to a query.
        """
        recipe = self.options.reranking
        if recipe is None:
            searched = self._searched(queries, vectors)
        else:
            searched = self._reranked(queries, vectors, recipe=recipe)
        means = _PersonMeans(self.gallery, within=self.options.within)
        found: list[Identification] = []
        for answers in searched:
            known = answers
            if self.options.recipe.fusion is Fusion.MEAN:
                means.add(image.label for one in answers for image in one.images)
                # People who were removed since the search have no mean.
                known = [
                    replace(one, images=[image for image in one.images if image.label in means])
                    for one in answers
                ]
            found.extend(self._identification(one, means=means) for one in known)
        return tuple(found)

    def _searched(self, queries: Sequence[Query], vectors: Tensor) -> Iterator[Sequence[_Answers]]:
        """Request a few answers, and more where they do not include a second person."""
        first = max(self._wanted, SEARCHED_FIRST)
        if self.options.recipe.fusion is Fusion.MEAN:
            first = max(first, CANDIDATE_IMAGES)
        for start in range(0, len(queries), QUESTION_CHUNK):
            rows = slice(start, start + QUESTION_CHUNK)
            chunk, asked = queries[rows], vectors[rows]
            answers = self._search(chunk, asked, first)
            short = [
                row
                for row, one in enumerate(answers)
                if len(one.labels) < 2 or len(one.images) < self._wanted
            ]
            if short and first < self.gallery.describe().num_images:
                depth = max(first, self._deep_enough([answers[row] for row in short]))
                deeper = self._search([chunk[row] for row in short], asked[short], depth)
                for row, one in zip(short, deeper, strict=True):
                    answers[row] = one
            yield answers

    def _reranked(
        self, queries: Sequence[Query], vectors: Tensor, *, recipe: RerankingRecipe
    ) -> Iterator[Sequence[_Answers]]:
        require_images(self.gallery.describe(), place=self.gallery.place)
        images = [image for image in self.gallery.images() if self.options.within.admits(image)]
        if not images:
            raise self._no_answer(queries[0])
        keys = torch.tensor([image.key for image in images])  # (G,)
        kept = self.gallery.vectors(keys.tolist())  # (G, D)
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

    def _search(self, queries: Sequence[Query], vectors: Tensor, k: int) -> list[_Answers]:
        neighbours = self.gallery.search(vectors, k, within=self.options.within)
        return self._visible(queries, vectors, neighbours)

    def _no_answer(self, query: Query) -> NoAnswerError:
        looked_at = self.options.within.words()
        advice = f"look at more than images {looked_at}, or add" if looked_at else "add"
        return NoAnswerError(
            place=self.gallery.place, name=query.images[0].name, advice=f"{advice} images of others"
        )

    @property
    def _wanted(self) -> int:
        votes = self.options.recipe.votes if self.options.recipe.fusion is Fusion.VOTE else 1
        return max(self.options.top_k, votes)

    def _deep_enough(self, short: Sequence[_Answers]) -> int:
        """Count the answers that must include people other than those found and the query's own."""
        groups = [
            {label for label in (*one.labels, one.query.label) if label is not None}
            for one in short
        ]
        images = self.gallery.images(labels=sorted(set[str]().union(*groups)))
        sizes = Counter(image.label for image in images)
        most = max(sum(sizes[label] for label in group) for group in groups)
        return self._wanted + most + 1

    def _visible(
        self, queries: Sequence[Query], vectors: Tensor, neighbours: Neighbours
    ) -> list[_Answers]:
        """Leave out what queries do not admit, and images that were removed since."""
        keys = torch.unique(neighbours.indices[neighbours.indices >= 0]).tolist()
        records = {image.key: image for image in self.gallery.images(keys=keys)}
        rows = zip(neighbours.indices.tolist(), neighbours.distances.tolist(), strict=True)
        answers = []
        for query, vector, (found, away) in zip(queries, vectors, rows, strict=True):
            cosines = ((key, 1.0 - distance) for key, distance in zip(found, away, strict=True))
            images = [
                RankedImage(
                    name=records[key].name,
                    label=records[key].label,
                    similarity=cosine,
                    camera=records[key].camera,
                    key=key,
                )
                for key, cosine in cosines
                if key in records and not query.hides(records[key], similarity=cosine)
            ]
            answers.append(_Answers(query, vector, images))
        return answers

    def _identification(self, answers: _Answers, *, means: _PersonMeans) -> Identification:
        query = answers.query
        first = query.images[0]
        if not answers.images:
            raise self._no_answer(query)
        labels = answers.labels
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
            images=tuple(answers.images[: self.options.top_k]),
            true_label=query.label,
            names=tuple(one.name for one in query.images) if len(query.images) > 1 else (),
            camera=first.camera,
            confidence=self.decision.confidence(similarities[0]),
            is_unknown=self.decision.is_unknown(similarities[0]),
            threshold=self.decision.threshold,
        )

    def _rank(
        self, answers: _Answers, *, labels: Sequence[str], means: _PersonMeans
    ) -> RankedIdentities:
        recipe, vector = self.options.recipe, answers.vector
        if recipe.fusion is Fusion.MEAN:
            directions = [means.for_query(answers.query, vector, label) for label in labels]
            return rank_by_mean(vector, torch.arange(len(labels)), torch.stack(directions))
        numbers = {label: number for number, label in enumerate(labels)}
        people = torch.tensor([numbers[image.label] for image in answers.images])
        similarities = torch.tensor([image.similarity for image in answers.images])
        if recipe.fusion is Fusion.BEST and self.options.reranking is None:
            return rank_by_best(similarities, people)
        # The best of a re-ranked order is its first image, which alone votes.
        votes = recipe.votes if recipe.fusion is Fusion.VOTE else 1
        return rank_by_vote(similarities, people, votes=votes, temperature=recipe.temperature)
