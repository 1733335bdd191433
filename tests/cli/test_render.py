"""Reports as text and JSON."""

import json
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path

import pytest

from reid.cli.render import (
    harmless,
    render_dataset_table,
    render_scores,
    table,
    to_json,
    toml_value,
)
from reid.domain.values.recipes import RerankingRecipe
from reid.domain.values.reports import EvaluationReport
from reid.domain.values.samples import Split, SplitStatistics

REPORT = EvaluationReport(
    cmc=(0.95190, 0.96, 0.97, 0.98, 0.98571, *[0.99] * 5),
    mean_average_precision=0.8833,
    mean_inverse_negative_penalty=0.6,
    num_queries=3368,
    num_valid_queries=3367,
    num_gallery=15913,
    is_same_camera_removed=True,
    is_exact=True,
    index_recall=1.0,
)


class Terminal(StringIO):
    """Says that it is one."""

    def isatty(self) -> bool:
        """Whether it is one."""
        return True


def test_columns_are_as_wide_as_their_longest_cell() -> None:
    rows = [("a.jpg", "x", "7"), ("long name.jpg", "anna", ""), ("\u5f35.jpg", "", "10")]
    assert table(("query", "label", "votes"), rows, numbers=("votes",)).splitlines() == [
        "query          label  votes",
        "a.jpg          x          7",
        "long name.jpg  anna",
        "\u5f35.jpg                   10",
    ]


def test_what_is_piped_is_never_cut_and_a_narrow_terminal_folds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    row = ("word " * 10).strip()
    assert table(("a", "b"), [("x", row)]).splitlines()[1] == f"x  {row}"
    monkeypatch.setattr("sys.stdout", Terminal())
    assert table(("a", "b"), [("x", row)]).splitlines() == [
        "a  b",
        "x  word word word",
        "   word word word",
        "   word word word",
        "   word",
    ]


def test_a_terminal_is_given_nothing_that_it_would_obey() -> None:
    told = table(("a", "b", "c"), [("\x1b[31mred.jpg", "a\nb", "Zoë 張")])
    assert told.splitlines()[1] == "\\x1b[31mred.jpg  a\\nb  Zoë 張"
    assert harmless("\u200dß\u3000") == "\u200dß\u3000"


def test_market_1501_looks_as_the_field_prints_it() -> None:
    statistics = [
        SplitStatistics(Split.TRAIN, 751, 12936, 6),
        SplitStatistics(Split.QUERY, 750, 3368, 6),
        SplitStatistics(Split.GALLERY, 751, 15913, 6),
    ]
    assert render_dataset_table(statistics) == (
        "----------------------------------------\n"
        "subset   | # ids | # images | # cameras\n"
        "----------------------------------------\n"
        "train    |   751 |    12936 |         6\n"
        "query    |   750 |     3368 |         6\n"
        "gallery  |   751 |    15913 |         6\n"
        "----------------------------------------"
    )


def test_an_exact_evaluation_lists_its_scores() -> None:
    assert render_scores(REPORT).splitlines() == [
        "Test Results - Rank-1: 95.19%",
        "Test Results - Rank-5: 98.57%",
        "Test Results - mAP: 88.33%",
        "Rank-10: 99.00%",
        "mINP: 60.00%",
        "Queries: 3367 of 3368 have a true match among 15913 gallery images",
        "Search: exact",
        "Same camera: left out, as in the Market-1501 protocol",
    ]


def test_an_approximate_search_another_protocol_and_re_ranking_are_said_aloud() -> None:
    report = replace(
        REPORT,
        is_exact=False,
        index_recall=0.953,
        is_same_camera_removed=False,
        reranking=RerankingRecipe(),
    )
    assert render_scores(report).splitlines()[6:] == [
        "Search: approximate, scores too; the index finds 95.3% of nearest neighbours",
        "Same camera: kept; not comparable with the Market-1501 protocol",
        "Re-ranking: k1=20, k2=6, lambda=0.3",
    ]


def test_a_report_in_json_has_the_fields_of_the_report() -> None:
    report = json.loads(to_json(replace(REPORT, reranking=RerankingRecipe())))
    assert report["mean_average_precision"] == 0.8833
    assert report["cmc"][0] == 0.9519
    assert report["reranking"] == {"k1": 20, "k2": 6, "original_weight": 0.3}


def test_paths_and_nested_reports_have_a_json_form_and_other_things_none() -> None:
    @dataclass(frozen=True)
    class Outer:
        report: EvaluationReport
        folder: Path

    plain = json.loads(to_json(Outer(REPORT, Path("runs"))))
    assert plain["folder"] == "runs"
    assert plain["report"]["num_gallery"] == 15913
    assert json.loads(to_json([SplitStatistics(Split.TRAIN, 1, 2, 3)]))[0]["split"] == "train"
    with pytest.raises(TypeError, match="object has no JSON form"):
        to_json({"odd": object()})


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (None, '"none"'),
        (True, "true"),
        (3.5e-4, "0.00035"),
        ([30, 50], "[30, 50]"),
        ("rn50", '"rn50"'),
        ({"a": [1, {"b": None}]}, '{a = [1, {b = "none"}]}'),
        ({}, "{}"),
    ],
)
def test_values_are_written_as_toml_reads_them(value: object, written: str) -> None:
    assert toml_value(value) == written
