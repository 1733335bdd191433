"""Scores of whole rankings, by counting the ranks of true matches instead of ranking.

Average precision, CMC and mINP follow from the ranks of the true matches alone, and a rank is one
plus the number of gallery images that come before the match, less the junk among them.

Letters: Q queries, G gallery, P pairs of the same person, B queries and W gallery rows at once.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from reid.domain.errors import EvaluationError
from reid.domain.ranking.distances import distances
from reid.domain.ranking.metrics import QueryScores, count_so_far, score_hits
from reid.domain.values.features import EmbeddingSet

_ENTRIES_PER_STRETCH = 2**23  # distances held at once while ranks are counted (32 MiB)
_ROWS_PER_STRETCH = 256  # fewer queries at once would make the matrix product slow
_LARGEST_WHOLE_GALLERY = 2**16  # larger ones are compared in stretches, to bound memory
_STRETCH_LENGTH = 2**14


def score_embeddings(
    queries: EmbeddingSet, gallery: EmbeddingSet, *, remove_same_camera: bool = True
) -> QueryScores:
    """Score the exact ranking by `distances`, ties by row number, without ordering the gallery.

    Queries and gallery are on one device, rows of unit L2 norm.

    Returns:
        The scores that `score_rankings` gives whole rankings, on the CPU.

    Raises:
        EvaluationError: Some embedding is not finite.
    """
    if not (queries.vectors.sum() + gallery.vectors.sum()).isfinite():
        raise EvaluationError(
            "some embedding is not a finite number: the encoder's weights are damaged or its "
            "training diverged; evaluate another run"
        )
    counting = _Counting(gallery, remove_same_camera=remove_same_camera)
    length = max(1, len(gallery))
    if length > _LARGEST_WHOLE_GALLERY:
        length = _STRETCH_LENGTH
    num_rows = max(_ROWS_PER_STRETCH, _ENTRIES_PER_STRETCH // length)
    # One piece of memory for all blocks: blocks of several sizes would not reuse freed memory.
    memory = gallery.vectors.new_empty(min(num_rows, len(queries)) * length)
    parts = []
    for start in range(0, max(1, len(queries)), num_rows):
        chunk = queries.part(start, start + num_rows)
        stretch = _stretches(chunk, gallery, length=length, memory=memory)
        parts.append(counting.score(chunk, stretch, length=length))
    return QueryScores.concatenate(parts)


def score_distances(
    blocks: Iterable[Tensor],
    *,
    queries: EmbeddingSet,
    gallery: EmbeddingSet,
    remove_same_camera: bool = True,
) -> QueryScores:
    """Score the ranking by given distances, ties by row number, without ordering the gallery.

    Blocks are (B, G) float32 distances of a few queries each, in the order of the queries.

    Returns:
        The scores that `score_rankings` gives whole rankings, on the CPU.
    """
    counting = _Counting(gallery, remove_same_camera=remove_same_camera)
    length = max(1, len(gallery))
    parts, start = [], 0
    for block in chain([torch.empty(0, len(gallery))], blocks):  # there may be no query
        chunk = queries.part(start, start + len(block))
        parts.append(counting.score(chunk, _only_stretch(block), length=length))
        start += len(block)
    return QueryScores.concatenate(parts)


class _Counting:
    """Scores of queries against one gallery, from counted ranks."""

    def __init__(self, gallery: EmbeddingSet, *, remove_same_camera: bool) -> None:
        pids = gallery.pids.cpu().numpy()
        self._rows = np.argsort(pids, kind="stable")  # (G,) grouped by person
        self._pids = pids[self._rows]
        self._camids = gallery.camids.cpu().numpy()
        self._remove_same_camera = remove_same_camera

    def score(
        self, queries: EmbeddingSet, stretch: Callable[[int], np.ndarray], *, length: int
    ) -> QueryScores:
        """Score B queries; `stretch` gives their distances to `length` rows from a given one on.

        It is called twice for stretches with true matches.
        """
        owners, rows = self._same_person(queries)  # (P,) each: query and gallery row of pairs
        own = np.empty(len(rows), dtype=np.float32)
        for start in np.unique(rows // length * length).tolist():
            inside = rows // length * length == start
            own[inside] = stretch(start)[owners[inside], rows[inside] - start]
        order = np.lexsort((rows, own, owners))
        owners, rows, own = owners[order], rows[order], own[order]
        is_same_camera = queries.camids.cpu().numpy()[owners] == self._camids[rows]
        junk = is_same_camera & self._remove_same_camera
        nearer_junk = count_so_far(torch.from_numpy(junk), torch.from_numpy(owners)).numpy()
        owners, rows, own = owners[~junk], rows[~junk], own[~junk]
        ranks = 1 - nearer_junk[~junk]
        for start in range(0, len(self._rows), length):
            ranks += _count_nearer(stretch(start), start, owners=owners, own=own, rows=rows)
        return score_hits(
            torch.from_numpy(owners),
            ranks=torch.from_numpy(ranks),
            num_matches=torch.from_numpy(np.bincount(owners, minlength=len(queries))),
        )

    def _same_person(self, queries: EmbeddingSet) -> tuple[np.ndarray, np.ndarray]:
        pids = queries.pids.cpu().numpy()
        starts = np.searchsorted(self._pids, pids, side="left")
        counts = np.searchsorted(self._pids, pids, side="right") - starts
        owners = np.repeat(np.arange(len(pids)), counts)
        within = np.arange(len(owners)) - np.repeat(np.cumsum(counts) - counts, counts)
        return owners, self._rows[starts[owners] + within]


def _stretches(
    queries: EmbeddingSet, gallery: EmbeddingSet, *, length: int, memory: Tensor
) -> Callable[[int], np.ndarray]:
    """Compute distances by stretches of the gallery, each in the memory of the one before."""

    @lru_cache(maxsize=1)  # a gallery of one stretch is compared once
    def stretch(start: int) -> np.ndarray:
        part = gallery.vectors[start : start + length]  # (W, D)
        block = memory[: len(queries) * len(part)].view(len(queries), len(part))
        found: np.ndarray = distances(queries.vectors, part, out=block).cpu().numpy()
        return found

    return stretch


def _only_stretch(block: Tensor) -> Callable[[int], np.ndarray]:
    whole: np.ndarray = block.cpu().numpy()
    return lambda _: whole


def _count_nearer(
    block: np.ndarray, first: int, *, owners: np.ndarray, own: np.ndarray, rows: np.ndarray
) -> np.ndarray:
    """Count the gallery images that come before each true match, on as many cores as torch uses.

    `block` is (B, W), the distances to rows from `first` on; of the (P,) matches, by `owners`, the
    queries, then `own`, the distances, then `rows`, all ascend.
    """
    counts = np.zeros(len(own), dtype=np.int64)
    bounds = np.searchsorted(owners, np.arange(len(block) + 1)).tolist()
    num_workers = torch.get_num_threads()

    def count(worker: int) -> None:
        for query in range(worker, len(block), num_workers):
            part = slice(bounds[query], bounds[query + 1])
            if part.start < part.stop:
                counts[part] = _count_before(block[query], first, own=own[part], rows=rows[part])

    with ThreadPoolExecutor(num_workers) as pool:  # numpy releases Python's lock while it sorts
        list(pool.map(count, range(num_workers)))
    return counts


def _count_before(
    found: np.ndarray, first: int, *, own: np.ndarray, rows: np.ndarray
) -> np.ndarray:
    """Count the gallery images before each of R true matches of one query, as `_count_nearer`."""
    # Only values are sorted, because that is vectorised and sorting rows is not; rows are compared
    # among equal distances only, which are few.
    values = np.sort(_up_to(own[-1], found))
    before = np.searchsorted(values, own, side="left")
    equal = np.searchsorted(values, own, side="right") - before
    is_here = (first <= rows) & (rows < first + len(found))
    for distance in np.unique(own[equal > is_here]):
        is_tied = own == distance  # (R,)
        places = np.flatnonzero(found == distance) + first
        before[is_tied] += np.searchsorted(places, rows[is_tied])
    return before


def _up_to(largest: np.floating, found: np.ndarray) -> np.ndarray:
    """Leave larger values out where they are the majority; else that costs more than it saves."""
    is_near = found <= largest
    if 2 * np.count_nonzero(is_near) > len(found):
        return found
    return found[np.flatnonzero(is_near)]  # faster than by the mask itself
