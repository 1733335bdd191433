"""Evaluation and re-ranking against values of the official code."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from reid.domain.ranking.distances import distances, rank
from reid.domain.ranking.metrics import score_rankings, summarise
from reid.domain.values.features import EmbeddingSet
from reid.domain.values.recipes import RerankingRecipe
from reid.domain.values.reports import EvaluationReport
from tests.vectors import rerank

NUM_QUERIES = 60
NUM_RERANKED_QUERIES = 30


@pytest.fixture(scope="module")
def golden() -> dict[str, npt.NDArray[np.float32]]:
    with np.load(Path(__file__).parent / "misc.npz", allow_pickle=False) as file:
        return {name: file[name] for name in file.files if name.startswith(("ev_", "rr_"))}


def evaluate(values: Tensor, golden: dict[str, npt.NDArray[np.float32]]) -> EvaluationReport:
    def people(side: str) -> EmbeddingSet:
        pids, camids = (torch.from_numpy(golden[f"ev_{side}{part}"]) for part in ("p", "c"))
        return EmbeddingSet(torch.zeros(len(pids), 1), pids, camids)

    queries, gallery = people("q"), people("g")
    return summarise(
        score_rankings(rank(values), queries=queries, gallery=gallery),
        num_gallery=len(gallery),
        is_same_camera_removed=True,
        is_exact=True,
        index_recall=1.0,
    )


def test_cmc_and_map_of_a_distance_matrix(golden: dict[str, npt.NDArray[np.float32]]) -> None:
    report = evaluate(torch.from_numpy(golden["ev_D"]), golden)
    assert np.allclose(report.cmc, golden["ev_cmc"], rtol=0, atol=1e-7)
    assert report.mean_average_precision == pytest.approx(float(golden["ev_map"]), abs=1e-12)
    assert report.num_queries == NUM_QUERIES


def test_cmc_and_map_of_features(golden: dict[str, npt.NDArray[np.float32]]) -> None:
    features = F.normalize(torch.from_numpy(golden["ev_F"]), dim=1)
    found = distances(features[:NUM_QUERIES], features[NUM_QUERIES:])
    report = evaluate(found, golden)
    assert np.allclose(report.cmc, golden["ev_F_cmc"], rtol=0, atol=1e-7)
    assert report.mean_average_precision == pytest.approx(float(golden["ev_F_map"]), abs=1e-12)


def test_the_official_switch_against_normalising_does_not_switch(
    golden: dict[str, npt.NDArray[np.float32]],
) -> None:
    # FEAT_NORM is a string tested for truth, so "no" normalises, too: there is one way, ours.
    features = torch.from_numpy(golden["ev_F"])
    normalised = F.normalize(features, dim=1)
    report = evaluate(distances(normalised[:NUM_QUERIES], normalised[NUM_QUERIES:]), golden)
    wanted = float(golden["ev_featnorm_no_map"])
    assert report.mean_average_precision == pytest.approx(wanted, abs=1e-12)
    raw = evaluate(torch.cdist(features[:NUM_QUERIES], features[NUM_QUERIES:]), golden)
    assert raw.mean_average_precision != pytest.approx(wanted, abs=1e-4)


def test_the_official_distance_is_twice_ours(golden: dict[str, npt.NDArray[np.float32]]) -> None:
    features = F.normalize(torch.from_numpy(golden["ev_F"]), dim=1)
    found = 2 * distances(features[:NUM_QUERIES], features[NUM_QUERIES:])
    assert np.allclose(found.numpy(), golden["ev_F_dist"], rtol=0, atol=2e-6)


def test_the_distance_before_reranking_is_twice_ours(
    golden: dict[str, npt.NDArray[np.float32]],
) -> None:
    features = torch.from_numpy(golden["rr_F"])
    found = 2 * distances(features[:NUM_RERANKED_QUERIES], features[NUM_RERANKED_QUERIES:])
    assert np.allclose(found.numpy(), golden["rr_plain"], rtol=0, atol=2e-6)


@pytest.mark.parametrize(("k1", "k2"), [(20, 6), (50, 15)])
def test_reranked_distances(golden: dict[str, npt.NDArray[np.float32]], k1: int, k2: int) -> None:
    features = torch.from_numpy(golden["rr_F"])
    recipe = RerankingRecipe(k1=k1, k2=k2, original_weight=0.3)
    found = rerank(features[:NUM_RERANKED_QUERIES], features[NUM_RERANKED_QUERIES:], recipe)
    # The official code keeps encodings and Jaccard distances in float16.
    assert np.allclose(found.numpy(), golden[f"rr_{k1}_{k2}"], rtol=0, atol=5e-3)
