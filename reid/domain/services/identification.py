"""Name the people on pictures by the nearest pictures of a gallery.

Letters: Q queries, D width, K answers.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from reid.domain.errors import GalleryError
from reid.domain.values.galleries import KeptPicture
from reid.domain.values.ranking import Neighbours
from reid.domain.values.reports import Identification, RankedPicture
from reid.domain.values.samples import Picture
from reid.ports.gallery import Gallery

_LOOKED_UP_FIRST = 32
"""Answers whose records are looked up for every query: a second label is mostly among them."""


def identify_among(
    gallery: Gallery, pictures: Sequence[Picture], vectors: Tensor, *, top_k: int
) -> tuple[Identification, ...]:
    """Name the person on each query picture.

    Args:
        gallery: Known people.
        pictures: Q queries.
        vectors: (Q, D) float32, rows of unit L2 norm, by the gallery's encoder.
        top_k: How many gallery pictures each answer shows.

    Returns:
        An answer per query, in the order of the queries.

    Raises:
        GalleryError: The gallery is empty or damaged, or nothing was found.
    """
    # With one answer more than the commonest label has pictures, a second label is among them.
    depth = max(top_k, gallery.describe().largest_label + 1)
    answers = gallery.search(vectors, depth)
    records = _records(gallery, answers.indices, at_least=max(top_k, _LOOKED_UP_FIRST))
    return tuple(
        _identification(
            picture, _ranked(answers, row, records=records), place=gallery.place, top_k=top_k
        )
        for row, picture in enumerate(pictures)
    )


def _records(gallery: Gallery, keys: Tensor, *, at_least: int) -> Mapping[int, KeptPicture]:
    """Look up the best answers, and all of those queries that met a single label among them."""
    records = _look_up(gallery, keys[:, :at_least])
    if keys.shape[1] <= at_least:
        return records
    short = [
        row
        for row, best in enumerate(keys[:, :at_least].tolist())
        if len({records[key].label for key in best if key in records}) < 2
    ]
    return {**records, **_look_up(gallery, keys[short])} if short else records


def _look_up(gallery: Gallery, keys: Tensor) -> dict[int, KeptPicture]:
    found = torch.unique(keys[keys >= 0]).tolist()
    return {picture.key: picture for picture in gallery.pictures(keys=found)}


def _ranked(
    answers: Neighbours, row: int, *, records: Mapping[int, KeptPicture]
) -> list[RankedPicture]:
    return [
        RankedPicture(
            image=records[key].image,
            label=records[key].label,
            similarity=1.0 - distance,
            camera=records[key].camera,
            key=key,
        )
        for key, distance in zip(
            answers.indices[row].tolist(), answers.distances[row].tolist(), strict=True
        )
        if key in records
    ]


def _identification(
    picture: Picture, ranked: Sequence[RankedPicture], *, place: str, top_k: int
) -> Identification:
    if not ranked:
        raise GalleryError(f"{place} gave no answer for {picture.image}: ask again")
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
        camera=picture.camera,
    )
