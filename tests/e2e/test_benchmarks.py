"""Every benchmark runs at a small size; how long anything takes is nobody's business here."""

import json
import math
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

import pytest

from benchmarks.__main__ import PARTS
from benchmarks.harness import Row, compare, render, write_results


@pytest.mark.parametrize("part", PARTS)
def test_a_part_measures_at_a_small_size(part: str, tmp_path: Path) -> None:
    rows: list[Row] = import_module(f"benchmarks.{part}").rows(quick=True)
    assert rows
    for row in rows:
        assert math.isfinite(row.ratio)
        assert row.ratio > 0
        assert row.exactness
    write_results(tmp_path / "results.json", rows)
    written = json.loads((tmp_path / "results.json").read_text())
    assert written["rows"] == [json.loads(json.dumps(asdict(row))) for row in rows]
    assert len(render(rows).splitlines()) == len(rows) + 2


def test_pairs_are_run_in_turn() -> None:
    order: list[str] = []
    timing = compare(lambda: order.append("ours"), lambda: order.append("plain"), runs=3, warmup=1)
    assert order == ["ours", "plain"] * 4
    assert timing.runs == 3


def test_a_slow_way_can_be_run_less_often() -> None:
    order: list[str] = []
    compare(lambda: order.append("o"), lambda: order.append("p"), runs=3, warmup=1, plain_runs=1)
    assert order == ["o", "o", "p", "o", "o"]
