"""Mean directions of a gallery's people, computed once for all questions that meet them.

Letters: D width.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from reid.domain.fusion import mean_directions
from reid.domain.services.questions import OwnPictures, Question
from reid.domain.values.galleries import GalleryFilter, KeptPicture
from reid.domain.services.gallery import Gallery


class PersonMeans:
    """Means of the pictures that a filter admits, by label."""

    def __init__(self, gallery: Gallery, *, within: GalleryFilter) -> None:
        """Know nobody yet."""
        self._gallery = gallery
        self._within = within
        self._means: dict[str, Tensor] = {}

    def __contains__(self, label: str) -> bool:
        """Whether a person's mean is known: it is not of people who were removed meanwhile."""
        return label in self._means

    def add(self, labels: Iterable[str]) -> None:
        """Compute the means of people that are not known yet."""
        pictures = self._admitted(set(labels) - self._means.keys())
        if not pictures:
            return
        numbers: dict[str, int] = {}
        groups = [numbers.setdefault(picture.label, len(numbers)) for picture in pictures]
        vectors = self._gallery.vectors([picture.key for picture in pictures])
        means = mean_directions(vectors, torch.tensor(groups), num_groups=len(numbers))
        self._means.update(zip(numbers, means, strict=True))

    def for_question(self, question: Question, vector: Tensor, label: str) -> Tensor:
        """Give a person's (D,) mean, without the pictures that a question hides.

        Args:
            question: What is asked.
            vector: (D,) of the question.
            label: Of a person who is known.
        """
        if question.own is OwnPictures.ALL or label != question.label:
            return self._means[label]
        pictures = self._admitted({label})
        vectors = self._gallery.vectors([picture.key for picture in pictures])
        rows = [
            row
            for row, (picture, cosine) in enumerate(
                zip(pictures, (vectors @ vector).tolist(), strict=True)
            )
            if not question.hides(picture, similarity=cosine)
        ]
        return mean_directions(vectors[rows], torch.zeros(len(rows)).long(), num_groups=1)[0]

    def _admitted(self, labels: set[str]) -> list[KeptPicture]:
        found = self._gallery.pictures(labels=sorted(labels))
        return [picture for picture in found if self._within.admits(picture)]
