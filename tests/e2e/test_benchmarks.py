"""Every benchmark runs at a small size; how long anything takes is nobody's business here."""

import json
import math
from collections.abc import Iterator
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

import pytest

from benchmarks.__main__ import PARTS, measured
from benchmarks.clusters import embedded_sets
from benchmarks.harness import Row, Scale, compare, print_rows, render, write_results
from benchmarks.open_set import curves, measure
from benchmarks.open_set import render as open_set_page
from tests.e2e.processes import load_beforehand


@pytest.fixture(scope="module", autouse=True)
def _processes_start_at_once() -> None:
    load_beforehand()


@pytest.mark.parametrize("part", PARTS)
def test_a_part_measures_at_a_small_size(part: str, tmp_path: Path) -> None:
    rows: list[Row] = list(import_module(f"benchmarks.{part}").rows(Scale.QUICK))
    assert rows
    for row in rows:
        assert math.isfinite(row.ratio)
        assert row.ratio > 0
        assert row.exactness
    write_results(tmp_path / "results.json", {part: rows})
    written = json.loads((tmp_path / "results.json").read_text())["parts"][part]
    assert written["rows"] == [json.loads(json.dumps(asdict(row))) for row in rows]
    assert len(render(rows).splitlines()) == len(rows) + 2


def a_row(part: str) -> Row:
    return Row(
        part=part,
        ours="ours",
        plain="plain",
        ours_seconds=1.0,
        plain_seconds=2.0,
        ratio=2.0,
        goal=">= 1x",
        is_met=True,
        exactness="equal",
        ours_peak_mib=0.0,
        plain_peak_mib=0.0,
        runs=1,
    )


def test_parts_that_are_not_measured_again_stay(tmp_path: Path) -> None:
    path = tmp_path / "results" / "cpu.json"
    write_results(path, {"first": [a_row("old first")], "second": [a_row("old second")]})
    write_results(path, {"second": [a_row("new second")]})
    written = json.loads(path.read_text())["parts"]
    names = {name: [row["part"] for row in part["rows"]] for name, part in written.items()}
    assert names == {"first": ["old first"], "second": ["new second"]}
    table = path.with_suffix(".md").read_text()
    assert "old first" in table
    assert "new second" in table
    assert "old second" not in table


def test_a_row_is_printed_before_the_next_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    printed: list[str] = []

    def measuring() -> Iterator[Row]:
        for part in ("first", "second"):
            printed.append(capsys.readouterr().out)
            yield a_row(part)

    assert [row.part for row in print_rows(measuring())] == ["first", "second"]
    head, after_first = printed
    assert head.startswith("| part")
    assert after_first.startswith("| first")
    assert capsys.readouterr().out.startswith("| second")


def test_it_is_said_how_long_the_rest_takes(capsys: pytest.CaptureFixture[str]) -> None:
    next(measured(["evaluation", "stage_two"], Scale.QUICK, json=None))
    assert "evaluation: less than a minute left" in capsys.readouterr().err


def test_pairs_are_run_in_turn() -> None:
    order: list[str] = []
    timing = compare(lambda: order.append("ours"), lambda: order.append("plain"), runs=3, warmup=1)
    assert order == ["ours", "plain"] * 4
    assert timing.runs == 3


def test_a_slow_way_can_be_run_less_often() -> None:
    order: list[str] = []
    compare(lambda: order.append("o"), lambda: order.append("p"), runs=3, warmup=1, plain_runs=1)
    assert order == ["o", "o", "p", "o", "o"]


def test_open_set_figures_become_a_page_and_a_plot() -> None:
    queries, gallery = embedded_sets(queries=60, gallery=200, identities=12, width=16)
    figures = measure(queries, gallery)
    assert [(one.fusion.split()[0], one.kind) for one in figures] == [
        (fusion, kind)
        for fusion in ("best", "mean", "vote")
        for kind in ("single images", "tracklets")
    ]
    assert all(one.rank_1 > 0.1 for one in figures)
    page = open_set_page(figures)
    assert page.count("too few unknown people") == 12
    assert len(curves(figures)) == 4
