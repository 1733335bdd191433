"""Evaluation, re-ranking and indexes on real vectors of Market-1501.

The vectors are those of a small public model (256-d, OpenVINO's person-reidentification-retail
0288), not of this project; they show that the numbers come out right on a real distribution.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from reid.adapters.indexes.annoy import AnnoyIndex
from reid.adapters.indexes.exact import ExactIndex
from reid.domain.ranking.distances import rank
from reid.domain.ranking.metrics import QueryScores, score_rankings, summarise
from reid.domain.ranking.reranking import reranked_distances
from reid.domain.values.features import EmbeddingSet
from reid.domain.values.recipes import RerankingRecipe
from reid.domain.values.reports import EvaluationReport

CHUNK = 256
VARIABLE = "REID_MARKET1501_FEATURES"
DEFAULT_FILE = Path(__file__).parents[2].parent / "shared/data/market1501_features_retail0288.npz"


def load_market() -> tuple[EmbeddingSet, EmbeddingSet]:
    path = Path(os.environ.get(VARIABLE, DEFAULT_FILE))
    if not path.is_file():
        pytest.skip(f"no real Market-1501 features here; name their file by {VARIABLE}")
    with np.load(path, allow_pickle=False) as file:

        def embeddings(subset: str) -> EmbeddingSet:
            vectors = torch.from_numpy(file[f"{subset}_features"]).float()
            return EmbeddingSet(
                vectors=F.normalize(vectors, dim=1),
                pids=torch.from_numpy(file[f"{subset}_pids"]).long(),
                camids=torch.from_numpy(file[f"{subset}_camids"]).long(),
            )

        return embeddings("query"), embeddings("gallery")


@pytest.fixture(scope="module")
def market() -> tuple[EmbeddingSet, EmbeddingSet]:
    return load_market()


@pytest.fixture(scope="module")
def exact(market: tuple[EmbeddingSet, EmbeddingSet]) -> ExactIndex:
    index = ExactIndex()
    index.build(market[1].vectors)
    return index


def evaluate(
    rankings: Iterable[Tensor], market: tuple[EmbeddingSet, EmbeddingSet]
) -> EvaluationReport:
    """Score rankings that come in chunks of queries."""
    queries, gallery = market
    parts, start = [], 0
    for ranking in rankings:
        chunk = slice(start, start + len(ranking))
        own = EmbeddingSet(queries.vectors[chunk], queries.pids[chunk], queries.camids[chunk])
        parts.append(score_rankings(ranking, queries=own, gallery=gallery))
        start += len(ranking)
    return summarise(
        QueryScores.concatenate(parts),
        num_gallery=len(gallery),
        is_same_camera_removed=True,
        is_exact=True,
        index_recall=1.0,
    )


def percent(share: float) -> float:
    return round(100 * share, 2)


def test_the_exact_index_gives_the_known_scores(
    market: tuple[EmbeddingSet, EmbeddingSet], exact: ExactIndex
) -> None:
    queries, gallery = market

    def rankings() -> Iterator[Tensor]:
        for start in range(0, len(queries), CHUNK):
            chunk = queries.vectors[start : start + CHUNK]
            yield exact.search(chunk, len(gallery)).indices

    report = evaluate(rankings(), market)
    assert (report.num_queries, report.num_gallery) == (3368, 15913)
    assert report.num_valid_queries == 3368
    assert percent(report.mean_average_precision) == 59.77
    assert [percent(report.rank(k)) for k in (1, 5, 10)] == [86.16, 94.39, 96.35]


def test_annoy_reaches_its_recall_on_real_queries(
    market: tuple[EmbeddingSet, EmbeddingSet], exact: ExactIndex
) -> None:
    queries, gallery = market
    index = AnnoyIndex(recall=0.95)
    index.build(gallery.vectors)
    found, nearest = index.search(queries.vectors, 1), exact.search(queries.vectors, 1)
    is_found = found.distances <= nearest.distances + 1e-6  # (Q, 1); a tie is no miss
    assert index.recall >= 0.95
    assert float(is_found.double().mean()) >= 0.95 - 0.015  # two standard errors of the probes


@pytest.mark.slow
def test_reranking_lifts_the_scores_on_real_queries(
    market: tuple[EmbeddingSet, EmbeddingSet],
) -> None:
    queries, gallery = market
    recipe = RerankingRecipe()
    blocks = reranked_distances(queries.vectors, gallery.vectors, recipe=recipe)
    report = evaluate((rank(block) for block in blocks), market)
    # Measured once by this code, whose distances equal the method spelt out in float64.
    assert report.mean_average_precision == pytest.approx(0.7924, abs=5e-4)
    assert report.rank(1) == pytest.approx(0.8952, abs=1e-3)
