"""Records of runs that never took place."""

from collections.abc import Mapping, Sequence
from typing import Any

from tests.fakes.run_records import FakeRunRecords


def evaluation(
    average_precision: Sequence[float],
    first_match_rank: Sequence[int],
    *,
    query: Sequence[str],
    query_digest: str = "queries",
    gallery_digest: str = "gallery",
    is_same_camera_removed: bool = True,
    reranking: Mapping[str, Any] | None = None,
    weights_digest: str = "weights",
    dataset: str = "people",
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Write an evaluation and the scores of its queries as a run keeps them."""
    count = len(query)
    cmc = [sum(rank <= k for rank in first_match_rank) / count for k in range(1, 11)]
    mean = sum(average_precision) / count
    split = {"num_identities": 2, "num_images": count, "num_cameras": 2}
    report = {
        "cmc": cmc, "mean_average_precision": mean, "mean_inverse_negative_penalty": mean / 2,
        "num_queries": count, "num_valid_queries": count, "num_gallery": 9,
        "is_same_camera_removed": is_same_camera_removed, "is_exact": True, "index_recall": 1.0,
        "reranking": reranking,
    }  # fmt: skip
    record = {
        "version": 1,
        "dataset": dataset,
        "encoder": {
            "name": "rn-tiny", "weights": "random", "is_pretrained": False, "options": {},
        },
        "report": report,
        "data": {
            "train": {**split, "digest": "train"},
            "query": {**split, "digest": query_digest},
            "gallery": {**split, "digest": gallery_digest},
        },
        "weights_digest": weights_digest,
        "settings": {"evaluation": {"use_cameras": True}, "encoder": {"precision": "fp32"}},
        "seconds": 1.5,
        "environment": {"device": "cpu", "versions": {"torch": "2.8"}},
    }  # fmt: skip
    queries = {
        "query": list(query),
        "average_precision": list(average_precision),
        "inverse_negative_penalty": [precision / 2 for precision in average_precision],
        "first_match_rank": list(first_match_rank),
        "num_matches": [1] * count,
        "query_digest": query_digest,
        "weights_digest": weights_digest,
    }
    return record, queries


def recorded_run(
    name: str,
    *,
    average_precision: Sequence[float] = (0.5, 0.6, 0.7),
    first_match_rank: Sequence[int] = (1, 2, 1),
    query: Sequence[str] = ("a.jpg", "b.jpg", "c.jpg"),
    **changes: Any,
) -> FakeRunRecords:
    """Make a run with one evaluation."""
    record, queries = evaluation(average_precision, first_match_rank, query=query, **changes)
    return FakeRunRecords(name, reports={"evaluation": record, "evaluation.queries": queries})
