"""Evaluation: distances, CMC and mAP of a whole test set.

The goal is set by the matrix product alone, without which no exact evaluation can do.

Letters: Q queries, G gallery, D width.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks.clusters import embedded_sets, with_distractors
from benchmarks.harness import Row, Scale, Timing, compare, run_alone
from benchmarks.plain.evaluation import MAX_RANK, evaluate, score, squared_distances
from reid.domain.ranking.exact_scores import score_embeddings
from reid.domain.ranking.metrics import QueryScores, summarise
from reid.domain.seeding import generator_for
from reid.domain.values.features import EmbeddingSet

GOAL = 1.5
"""Times the product alone."""

MEMORY_GOAL_MIB = 64
LINEARITY = 1.5
"""Time per gallery image may grow by so much from the smallest to the largest gallery."""

NEAR_TIE = 1e-6
"""Difference of cosines below which float32 may order two images unlike float64."""

ROUNDING = 1e-12
"""Of an average precision, which is a sum of float64 fractions."""

CHECKED_DISTRACTORS = 70_000

PRODUCT_ROWS, PRODUCT_COLUMNS = 512, 2**14
"""Queries and gallery images multiplied at once where the product is timed alone."""


@dataclass(frozen=True)
class Size:
    """How much work."""

    queries: int
    gallery: int
    identities: int
    widths: tuple[int, ...]
    distractors: int
    distractor_width: int
    """Narrower, for the time it takes; what is not the product then weighs more."""
    runs: int
    checked: int
    """Queries compared with float64."""


FULL = Size(
    queries=3368,
    gallery=15913,
    identities=750,
    widths=(1280, 3072),
    distractors=500_000,
    distractor_width=512,
    runs=2,
    checked=3368,
)
USUAL = replace(FULL, widths=(1280,), distractors=100_000, checked=500)
QUICK = Size(
    queries=60,
    gallery=500,
    identities=20,
    widths=(64,),
    distractors=70_000,
    distractor_width=64,
    runs=1,
    checked=60,
)


def rows(scale: Scale) -> Iterator[Row]:
    """Time evaluation at every width, of vectors that say nothing, and with many distractors."""
    size = scale.choose(QUICK, USUAL, FULL)
    for width in size.widths:
        yield _width_row(size, width)
    yield _unrelated_row(size, size.widths[0])
    yield _distractor_row(size)


def _width_row(size: Size, width: int) -> Row:
    queries, gallery = _sets(size, width)
    limit = _over_product(queries, gallery, runs=size.runs + 2)
    timing = compare(
        lambda: score_embeddings(queries, gallery),
        lambda: evaluate(queries, gallery),
        runs=size.runs,
    )
    ours = run_alone(_prepare_ours, size, width)
    found = _compare_to_float64(queries, gallery, num_queries=size.checked)
    return Row(
        part=f"evaluation, {len(queries)} x {len(gallery)}, {width}-d",
        ours="product in chunks of queries, ranks of true matches counted",
        plain="full distance matrix, argsort of every row",
        goal=f"<= {GOAL:g}x the product alone ({limit.ratio:.2f}x), <= {MEMORY_GOAL_MIB} MiB",
        is_met=limit.ratio <= GOAL
        and ours.peak_mib <= MEMORY_GOAL_MIB
        and found.num_unexplained == 0,
        exactness=str(found),
        details={
            "product_seconds": limit.ours_seconds,
            "ours_over_product": limit.ratio,
            "queries_not_explained_by_near_ties": float(found.num_unexplained),
        },
        **asdict(replace(timing, ours_peak_mib=ours.peak_mib)),
    )


def _unrelated_row(size: Size, width: int) -> Row:
    """Put true matches behind most of the gallery, where counting takes longest."""
    queries, gallery = (_unrelated(part, seed) for seed, part in enumerate(_sets(size, width)))
    limit = _over_product(queries, gallery, runs=size.runs + 2)
    found = _compare_to_float64(queries, gallery, num_queries=min(size.checked, 500))
    timing = replace(
        limit,
        ours_seconds=limit.plain_seconds,
        plain_seconds=limit.ours_seconds,
        ratio=1 / limit.ratio,
        ours_peak_mib=limit.plain_peak_mib,
        plain_peak_mib=limit.ours_peak_mib,
    )
    return Row(
        part=f"evaluation, {len(queries)} x {len(gallery)}, {width}-d, unrelated vectors",
        ours="the same",
        plain="the matrix product alone",
        goal=f"<= {GOAL:g}x the product alone ({limit.ratio:.2f}x)",
        is_met=limit.ratio <= GOAL and found.num_unexplained == 0,
        exactness=str(found),
        details={"ours_over_product": limit.ratio},
        **asdict(timing),
    )


def _over_product(queries: EmbeddingSet, gallery: EmbeddingSet, *, runs: int) -> Timing:
    """Time the product alone, which stands as ours here, and the whole evaluation in turn."""
    return compare(
        lambda: _product(queries, gallery),
        lambda: score_embeddings(queries, gallery),
        runs=runs,
    )


def _unrelated(embedded: EmbeddingSet, seed: int) -> EmbeddingSet:
    generator = generator_for(seed, "unrelated")
    vectors = torch.randn(embedded.vectors.shape, generator=generator)
    return replace(embedded, vectors=F.normalize(vectors, dim=1))


def _distractor_row(size: Size) -> Row:
    """Set ours against the product alone: a full distance matrix would not fit into memory."""
    width = size.distractor_width
    small = run_alone(_prepare_ours, size, width)
    ours = run_alone(_prepare_ours, size, width, size.distractors)
    product = run_alone(_prepare_product, size, width, size.distractors)
    num_gallery = size.gallery + size.distractors
    growth = ours.seconds / small.seconds * size.gallery / num_gallery
    # Enough for stretches; float64 copies of all distractors would not fit into memory.
    found = _compare_to_float64(*_sets(size, width, CHECKED_DISTRACTORS), num_queries=64)
    return Row(
        part=f"evaluation, {size.queries} x {num_gallery}, {width}-d",
        ours="the same, the gallery a stretch at a time",
        plain="the matrix product alone, a stretch at a time",
        ours_seconds=ours.seconds,
        plain_seconds=product.seconds,
        ratio=product.seconds / ours.seconds,
        goal=f"<= {LINEARITY:g}x the time per image of {size.gallery} ({growth:.2f}x)",
        is_met=growth <= LINEARITY
        and ours.peak_mib <= MEMORY_GOAL_MIB
        and found.num_unexplained == 0,
        exactness=f"{found} (64 queries, {CHECKED_DISTRACTORS} distractors)",
        ours_peak_mib=ours.peak_mib,
        plain_peak_mib=product.peak_mib,
        runs=1,
        details={"time_per_image_growth": growth, "small_gallery_seconds": small.seconds},
    )


def _sets(size: Size, width: int, distractors: int = 0) -> tuple[EmbeddingSet, EmbeddingSet]:
    queries, gallery = embedded_sets(
        queries=size.queries, gallery=size.gallery, identities=size.identities, width=width
    )
    return queries, with_distractors(gallery, distractors) if distractors else gallery


def _prepare_ours(size: Size, width: int, distractors: int = 0) -> Callable[[], object]:
    queries, gallery = _sets(size, width, distractors)
    score_embeddings(queries.part(0, 32), gallery.part(0, 32))
    return lambda: score_embeddings(queries, gallery)


def _prepare_product(size: Size, width: int, distractors: int) -> Callable[[], object]:
    queries, gallery = _sets(size, width, distractors)
    _product(queries.part(0, 32), gallery.part(0, 32))
    return lambda: _product(queries, gallery)


def _product(queries: EmbeddingSet, gallery: EmbeddingSet) -> None:
    for rows in torch.split(queries.vectors, PRODUCT_ROWS):
        for columns in torch.split(gallery.vectors, PRODUCT_COLUMNS):
            torch.mm(rows, columns.T)


@dataclass(frozen=True)
class _Difference:
    """How far our scores are from those of float64 distances, ties by gallery row."""

    mean_average_precision: float
    cmc: float
    num_differing: int
    num_unexplained: int
    """Queries whose average precision near-ties do not account for."""

    def __str__(self) -> str:
        """Say it in a cell of the table."""
        return (
            f"mAP {self.mean_average_precision:.0e}, CMC {self.cmc:.0e} from float64; "
            f"{self.num_differing} queries differ, {self.num_unexplained} by more than near-ties"
        )


def _compare_to_float64(
    queries: EmbeddingSet, gallery: EmbeddingSet, *, num_queries: int | None = None
) -> _Difference:
    queries = queries.part(0, num_queries or len(queries))
    scores = score_embeddings(queries, gallery)
    found = scores.average_precision.numpy()
    squared = squared_distances(queries, gallery, dtype=np.float64)
    cmc, exact = score(squared, queries=queries, gallery=gallery, kind="stable")
    differing = np.flatnonzero(np.abs(found - exact) > ROUNDING)
    least, most = _bound_by_near_ties(squared[differing], _rows(queries, differing), gallery)
    is_explained = (least <= found[differing]) & (found[differing] <= most)
    return _Difference(
        mean_average_precision=abs(float(found.mean() - exact.mean())),
        cmc=float(np.abs(_cmc(scores, len(gallery)) - cmc).max()),
        num_differing=len(differing),
        num_unexplained=int((~is_explained).sum()),
    )


def _bound_by_near_ties(
    squared: np.ndarray, queries: EmbeddingSet, gallery: EmbeddingSet
) -> tuple[np.ndarray, np.ndarray]:
    """Bound average precision where near-ties may be ordered either way.

    It falls as true matches move away, so it is least where all of them are NEAR_TIE farther and
    largest where all are NEAR_TIE nearer.
    """
    is_match = queries.pids.numpy()[:, None] == gallery.pids.numpy()[None, :]
    shift = 2 * NEAR_TIE * is_match  # a squared distance is twice 1 - cos
    bounds = (score(squared + way * shift, queries=queries, gallery=gallery) for way in (1, -1))
    (_, least), (_, most) = bounds
    return least - ROUNDING, most + ROUNDING


def _rows(embedded: EmbeddingSet, rows: np.ndarray) -> EmbeddingSet:
    chosen = torch.from_numpy(rows)
    return EmbeddingSet(embedded.vectors[chosen], embedded.pids[chosen], embedded.camids[chosen])


def _cmc(scores: QueryScores, num_gallery: int) -> np.ndarray:
    report = summarise(
        scores,
        num_gallery=num_gallery,
        is_same_camera_removed=True,
        is_exact=True,
        index_recall=1.0,
    )
    return np.array(report.cmc[:MAX_RANK])
