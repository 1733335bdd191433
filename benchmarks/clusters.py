"""Synthetic embeddings as large as a dataset's: unit vectors around one centre per person.

Persons differ in a few directions only, and some images stray far from their person, as real ones
do: of this distribution and of real Market-1501 vectors alike, nine of ten queries find a match
first, but the farthest match lies behind a tenth of the gallery on average. Independent noise in
every dimension would tell all persons apart: a task too easy to time.

Letters: N images, C persons, D width.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from reid.domain.seeding import generator_for
from reid.domain.values.features import EmbeddingSet

CAMERAS = 6
DISTRACTOR_PID = 0
DIRECTIONS = 48
SPREAD = 0.85
"""Median size of an image's noise, relative to the distance between persons."""

STRAYING = 0.5
"""Standard deviation of the logarithm of that size."""


def embedded_sets(
    *, queries: int, gallery: int, identities: int, width: int
) -> tuple[EmbeddingSet, EmbeddingSet]:
    """Draw queries and a gallery, a sixth of it distractors, ordered by person as datasets are.

    Args:
        queries: Q, each with true matches.
        gallery: G.
        identities: C.
        width: D.
    """
    generator = generator_for(1, "benchmark")
    centres = torch.randn(identities, DIRECTIONS, generator=generator)
    non_mated = torch.randn(gallery // 6, DIRECTIONS, generator=generator)
    persons = torch.arange(queries) * identities // queries  # every person alike often
    known = gallery - len(non_mated)
    shown = torch.arange(known) * identities // known
    own = torch.cat([non_mated, centres[shown]])
    nobody = torch.full((len(non_mated),), DISTRACTOR_PID)
    return (
        EmbeddingSet(
            vectors=_images(centres[persons], width, generator),
            pids=persons + 1,
            camids=torch.arange(queries) % CAMERAS,
        ),
        EmbeddingSet(
            vectors=_images(own, width, generator),
            pids=torch.cat([nobody, shown + 1]),
            camids=torch.arange(gallery) % CAMERAS,
        ),
    )


def with_distractors(gallery: EmbeddingSet, count: int) -> EmbeddingSet:
    """Append distractors."""
    generator = generator_for(2, "benchmark")
    width = gallery.vectors.shape[1]
    vectors = torch.empty(len(gallery) + count, width)
    vectors[: len(gallery)] = gallery.vectors
    for part in torch.split(vectors[len(gallery) :], 2**14):
        non_mated = torch.randn(len(part), DIRECTIONS, generator=generator)
        part.copy_(_images(non_mated, width, generator))
    nobody = torch.full((count,), DISTRACTOR_PID)
    return EmbeddingSet(
        vectors=vectors,
        pids=torch.cat([gallery.pids, nobody]),
        camids=torch.cat([gallery.camids, torch.arange(count) % CAMERAS]),
    )


def non_mated(count: int, *, width: int, part: int) -> Tensor:
    """Draw distractors, others for every part: (count, width), rows of unit L2 norm."""
    generator = generator_for(2, f"unknown people {part}")
    return _images(torch.randn(count, DIRECTIONS, generator=generator), width, generator)


def _images(centres: Tensor, width: int, generator: torch.Generator) -> Tensor:
    """Draw an image of each (N, DIRECTIONS) centre: (N, width), rows of unit L2 norm."""
    basis = torch.randn(DIRECTIONS, width, generator=generator_for(3, "benchmark"))
    size = SPREAD * (STRAYING * torch.randn(len(centres), 1, generator=generator)).exp()
    noise = torch.randn(centres.shape, generator=generator)
    return F.normalize((centres + size * noise) @ basis, dim=1)
