"""Search over a gallery's vectors, of which some may not count or not be admitted.

Letters: Q queries, A answers requested of the index, K answers to return.
"""

import numpy as np
import torch
from torch import Tensor

from reid.domain.services.gallery_states import Snapshot
from reid.domain.values.features import Neighbours
from reid.domain.values.galleries import EVERYTHING, GalleryFilter, RecordsState
from reid.ports.gallery_records import RecordsReader

_INDEXED_SHARE = 16
"""Largest part of the vectors that is requested of an index: beyond it, comparing with all admitted
vectors is as fast."""

# Answers requested beyond those to return where some may not count:
_SPARE_ANSWERS = 8
_SPARE_SHARE = 1.5
_SECOND_TRY = 8  # factor of answers requested where the first did not suffice


def search_view(
    now: Snapshot, queries: Tensor, num_answers: int, *, within: GalleryFilter, is_filtering: bool
) -> Neighbours:
    """Rank the images that are kept and admitted, for (Q, D) queries: (Q, K) keys.

    K, `num_answers`, is at most the number of images kept; `is_filtering` says whether the view
    itself leaves out what is not admitted.
    """
    state = now.state
    is_whole = not state.num_removed and (is_filtering or within == EVERYTHING)
    indices = torch.full((len(queries), num_answers), -1)  # (Q, K)
    distances = torch.full((len(queries), num_answers), torch.inf)  # (Q, K)
    left = torch.arange(len(queries))
    for asked in _tries(num_answers, state=state, is_whole=is_whole, is_filtering=is_filtering):
        near = now.view.nearest(queries[left], asked, within=within)  # (Q, A)
        known = _known(near.indices, records=now.records, within=within)
        found = _sifted(near, known=known, k=num_answers)
        indices[left], distances[left] = found.indices, found.distances
        if is_whole and torch.equal(known, near.indices):
            return Neighbours(indices=indices, distances=distances)
        is_short = found.indices[:, -1] < 0
        if is_filtering:
            # It has no more where it found fewer than it was asked for.
            is_short &= (near.indices[:, asked - 1 :] >= 0).any(dim=1)
        left = left[is_short]
        if not len(left):
            return Neighbours(indices=indices, distances=distances)
    found = now.view.among(queries[left], num_answers, keys=now.records.all_admitted(within=within))
    indices[left, : found.indices.shape[1]] = found.indices
    distances[left, : found.indices.shape[1]] = found.distances
    return Neighbours(indices=indices, distances=distances)


def _tries(
    num_answers: int, *, state: RecordsState, is_whole: bool, is_filtering: bool
) -> list[int]:
    if is_whole:
        return [num_answers, _SECOND_TRY * num_answers + _SPARE_ANSWERS]
    num_images = state.description.num_images
    num_vectors = num_images + state.num_removed
    first = int(num_answers * _SPARE_SHARE * num_vectors / num_images) + _SPARE_ANSWERS
    largest = num_vectors if is_filtering else num_vectors // _INDEXED_SHARE
    return [asked for asked in (first, first * _SECOND_TRY) if asked <= largest]


def _known(keys: Tensor, *, records: RecordsReader, within: GalleryFilter) -> Tensor:
    """Put -1 in the place of keys that are not kept or not admitted."""
    distinct, places = np.unique(keys.numpy(), return_inverse=True)
    admitted = records.admitted([key for key in distinct.tolist() if key >= 0], within=within)
    known = np.array([key if key in admitted else -1 for key in distinct.tolist()], dtype=np.int64)
    return torch.from_numpy(known[places].reshape(keys.shape))


def _sifted(near: Neighbours, *, known: Tensor, k: int) -> Neighbours:
    """Move (Q, A) answers that do not count to the end, and keep K of them."""
    places = (known < 0).to(torch.int8).argsort(dim=1, stable=True)[:, :k]  # (Q, K)
    keys = known.gather(1, places)
    found = near.distances.gather(1, places).masked_fill(keys < 0, torch.inf)
    missing = k - keys.shape[1]
    return Neighbours(
        indices=torch.nn.functional.pad(keys, (0, missing), value=-1),
        distances=torch.nn.functional.pad(found, (0, missing), value=torch.inf),
    )
