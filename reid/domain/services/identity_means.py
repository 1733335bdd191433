"""Mean directions of a gallery's people, computed once for all queries.

Letters: D width.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from reid.domain.ranking.fusion import mean_directions
from reid.domain.services.gallery import Gallery
from reid.domain.services.queries import OwnImages, Query
from reid.domain.values.galleries import GalleryFilter, KeptImage


class PersonMeans:
    """Means of the images that a filter admits, by label."""

    def __init__(self, gallery: Gallery, *, within: GalleryFilter) -> None:
        """Start without means."""
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
