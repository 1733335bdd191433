"""Scores of queries in little space."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reid.adapters.runs.packing import PACKED, pack_queries, unpack_queries
from reid.adapters.runs.records import FilesystemRunRecords
from reid.domain.errors import CheckpointError

Query = tuple[str, float, int, int, int]
QUERIES = st.lists(
    st.tuples(
        st.text(max_size=8),
        st.floats(0, 1),
        st.integers(0, 20_000),
        st.integers(0, 100),
        st.integers(0, 2**31 - 1),
    )
)


def record(queries: list[Query]) -> dict[str, Any]:
    names, precisions, first, matches, last = zip(*queries, strict=True) if queries else [()] * 5
    penalty = [m / one if one else 0.0 for m, one in zip(matches, last, strict=True)]
    return {
        "query": list(names),
        "average_precision": list(precisions),
        "inverse_negative_penalty": penalty,
        "first_match_rank": list(first),
        "num_matches": list(matches),
        "query_digest": "queries",
        "weights_digest": "weights",
    }


def many() -> dict[str, Any]:
    generator = np.random.default_rng(3)
    return record(
        [
            (f"{n:04d}_c1s1_{n:06d}_00.jpg", float(generator.random()), n % 9 + 1, 5 + n % 7, n + 5)
            for n in range(1000)
        ]
    )


@given(QUERIES)
def test_nothing_is_lost_to_the_last_bit(queries: list[Query]) -> None:
    content = record(queries)
    through_file = json.loads(json.dumps(pack_queries(content)))
    found = unpack_queries(through_file) if PACKED in through_file else through_file
    assert found == content


def test_a_record_of_many_queries_shrinks_to_less_than_a_third() -> None:
    content = many()
    assert 3 * len(json.dumps(pack_queries(content))) < len(json.dumps(content))


@pytest.mark.parametrize(
    "change",
    [
        {"inverse_negative_penalty": [0.3] * 1000},
        {"first_match_rank": [2**40] * 1000},
        {"average_precision": [0.5] * 999},
        {"num_matches": ["five"] * 1000},
        {"query": None},
    ],
)
def test_what_would_not_come_back_is_left_as_it_is(change: dict[str, Any]) -> None:
    content = many() | change
    packed = pack_queries(content)
    assert packed == content or unpack_queries(packed) == content
    del content["num_matches"]
    assert pack_queries(content) == content


@pytest.mark.parametrize("change", ["%%%", "nonsense", "", 5, None])
@pytest.mark.parametrize("column", ["query", "average_precision", "last_match_rank"])
def test_a_damaged_record_is_refused_by_name(column: str, change: object, tmp_path: Path) -> None:
    packed = dict(pack_queries(many()))
    packed[PACKED] = {**packed[PACKED], column: change}
    (tmp_path / "evaluation.queries.json").write_text(json.dumps(packed))
    with pytest.raises(CheckpointError, match=r"evaluation\.queries\.json cannot be read: packed"):
        FilesystemRunRecords(tmp_path).report("evaluation.queries")
