"""k-reciprocal re-ranking of a whole test set, and of one as large as MSMT17's.

Letters: Q queries, G gallery, N = Q + G.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from torch import Tensor

from benchmarks.clusters import embedded_sets
from benchmarks.harness import Row, Scale, compare, run_alone
from benchmarks.plain.reranking import rerank
from reid.domain.ranking.reranking import reranked_distances
from reid.domain.values.recipes import RerankingRecipe

RECIPE = RerankingRecipe()
TOLERANCE = 1e-5
WIDTH = 1280
PRODUCT_SHARE = 16
"""One row in so many is multiplied where all would take minutes."""

WHOLE_MIB = (3368 + 15913) * WIDTH * 4 / 2**20
"""Of all vectors."""

TILE = 2**11


@dataclass(frozen=True)
class Crowd:
    """How many images, and what is wanted of them."""

    queries: int
    gallery: int
    identities: int
    goal_ratio: float = 0.0
    goal_mib: float = float("inf")
    """Beyond the vectors; of the largest crowd, in all."""


@dataclass(frozen=True)
class Size:
    """How much work."""

    quarter: Crowd
    full: Crowd | None
    """Takes the plain way minutes and 10 GB."""

    largest: Crowd
    width: int
    runs: int


FULL = Size(
    quarter=Crowd(queries=842, gallery=3978, identities=188, goal_ratio=6),
    full=Crowd(queries=3368, gallery=15913, identities=750, goal_ratio=10, goal_mib=700),
    largest=Crowd(queries=11659, gallery=82161, identities=3060, goal_mib=3e9 / 2**20),
    width=WIDTH,
    runs=5,
)
USUAL = Size(
    quarter=FULL.quarter,
    full=None,
    largest=Crowd(queries=3368, gallery=15913, identities=750, goal_mib=700 + WHOLE_MIB),
    width=WIDTH,
    runs=3,
)
QUICK = Size(
    quarter=Crowd(queries=20, gallery=100, identities=10),
    full=Crowd(queries=30, gallery=200, identities=20),
    largest=Crowd(queries=60, gallery=400, identities=40, goal_mib=3e9 / 2**20),
    width=64,
    runs=1,
)


def rows(scale: Scale) -> Iterator[Row]:
    """Time a quarter in turn with the plain way, larger crowds beside the product alone."""
    size = scale.choose(QUICK, USUAL, FULL)
    yield _compared_row(size.quarter, size.width, runs=size.runs, warmup=1)
    if size.full is not None:
        yield _compared_row(size.full, size.width, runs=1, warmup=0)
    yield _largest_row(size.largest, size.width)


def _compared_row(crowd: Crowd, width: int, *, runs: int, warmup: int) -> Row:
    queries, gallery = _vectors(crowd, width)
    wanted: list[np.ndarray] = []

    def plain() -> None:
        wanted[:] = [
            rerank(
                queries,
                gallery,
                k1=RECIPE.k1,
                k2=RECIPE.k2,
                original_weight=RECIPE.original_weight,
            )
        ]

    timing = compare(_work(queries, gallery), plain, runs=runs, warmup=warmup)
    ours = run_alone(_prepare, crowd, width)
    error = _largest_difference(reranked_distances(queries, gallery, recipe=RECIPE), wanted[0])
    return Row(
        part=f"re-ranking, {len(queries)} x {len(gallery)}, {width}-d",
        ours="tiles compared once for both sides, sparse encodings",
        plain="full float32 matrices",
        goal=f">= {crowd.goal_ratio:g}x{_memory_goal(crowd)}, within {TOLERANCE:.0e}",
        is_met=timing.ratio >= crowd.goal_ratio
        and ours.peak_mib <= crowd.goal_mib
        and error <= TOLERANCE,
        exactness=f"{error:.1e} largest difference from float32 throughout",
        **asdict(replace(timing, ours_peak_mib=ours.peak_mib)),
    )


def _memory_goal(crowd: Crowd) -> str:
    return f", <= {crowd.goal_mib:g} MiB" if math.isfinite(crowd.goal_mib) else ""


def _largest_row(crowd: Crowd, width: int) -> Row:
    """Set ours against the product alone: full matrices of MSMT17 would take 35 GB each."""
    ours = run_alone(_prepare, crowd, width)
    product = run_alone(_prepare_product_share, crowd, width)
    product_seconds = product.seconds * PRODUCT_SHARE
    num_images = crowd.queries + crowd.gallery
    total_mib = ours.peak_mib + num_images * width * 4 / 2**20
    return Row(
        part=f"re-ranking, {crowd.queries} x {crowd.gallery}, {width}-d, beside the product alone",
        ours="the same",
        plain=f"all images times all, from 1/{PRODUCT_SHARE} of it",
        ours_seconds=ours.seconds,
        plain_seconds=product_seconds,
        ratio=product_seconds / ours.seconds,
        goal=f"<= {crowd.goal_mib:.0f} MiB with the vectors ({total_mib:.0f} MiB)",
        is_met=total_mib <= crowd.goal_mib,
        exactness="not compared: the dense way takes too much",
        ours_peak_mib=ours.peak_mib,
        plain_peak_mib=product.peak_mib,
        runs=1,
        details={"peak_with_vectors_mib": total_mib},
    )


def _vectors(crowd: Crowd, width: int) -> tuple[Tensor, Tensor]:
    queries, gallery = embedded_sets(
        queries=crowd.queries, gallery=crowd.gallery, identities=crowd.identities, width=width
    )
    return queries.vectors, gallery.vectors


def _prepare(crowd: Crowd, width: int) -> Callable[[], None]:
    queries, gallery = _vectors(crowd, width)
    _work(queries[:8], gallery[:60])()
    return _work(queries, gallery)


def _prepare_product_share(crowd: Crowd, width: int) -> Callable[[], None]:
    images = torch.cat(_vectors(crowd, width))
    share = images[: len(images) // PRODUCT_SHARE]

    def work() -> None:
        for rows in torch.split(share, TILE):
            for columns in torch.split(images, TILE):
                torch.mm(rows, columns.T)

    torch.mm(images[:8], images[:8].T)
    return work


def _work(queries: Tensor, gallery: Tensor) -> Callable[[], None]:
    def work() -> None:
        for _ in reranked_distances(queries, gallery, recipe=RECIPE):
            pass  # evaluation scores block by block, too

    return work


def _largest_difference(blocks: Iterable[Tensor], wanted: np.ndarray) -> float:
    largest, start = 0.0, 0
    for block in blocks:
        rows = wanted[start : start + len(block)]
        largest = max(largest, float(np.abs(block.numpy() - rows).max()))
        start += len(block)
    return largest
