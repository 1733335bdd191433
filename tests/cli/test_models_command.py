"""`reid models`: what is listed, shown and asked."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from reid.cli.app import app
from reid.known_models import catalogue
from tests.models import entry_text, ship


def run(*arguments: str, expect: int = 0) -> Result:
    result = CliRunner().invoke(app, ["models", *arguments])
    assert result.exit_code == expect, result.output
    return result


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return ship(
        tmp_path / "shipped",
        entry_text("here", file="here.bin", content=b"it", is_default=True),
        entry_text("asked", file="asked.bin", by_hand="Write to its author."),
        patch=monkeypatch,
    )


def test_the_list_names_every_model() -> None:
    lines = run("list").stdout.splitlines()
    assert lines[0].split()[0] == "model"
    assert {line.split()[0] for line in lines} >= catalogue().models.keys()
    listed = json.loads(run("list", "--json").stdout)
    assert [entry["name"] for entry in listed] == list(catalogue().models)


def test_the_list_says_what_is_here_and_what_answers_by_default(shipped: Path) -> None:
    (shipped / "here.bin").write_bytes(b"it")
    _, first, second, *notes = run("list").stdout.splitlines()
    assert first.split()[:3] == ["here", "*", "yes"]
    assert second.split()[:3] == ["asked", "by", "hand"]
    assert notes[-1] == "* answers where neither a run nor weights are named"


def test_all_that_is_known_of_a_model_is_shown(shipped: Path) -> None:
    text = run("show", "asked").stdout
    for part in (
        "weights: MIT",
        "trained on: drawn people",
        "Home: for research only (https://example.org/home)",
        "Away: mAP 12.5, Rank-1 20.5 (a test)",
        "Write to its author.",
        str(shipped.with_name("cache") / "reid" / "models" / "asked"),
    ):
        assert part in text
    facts = json.loads(run("show", "here", "--json").stdout)
    assert facts["path"] is None
    assert facts["files"][0]["digests"][0].startswith("sha256:")


def test_an_unknown_model_is_answered_by_near_ones() -> None:
    result = run("show", "omz-277", expect=3)
    assert "did you mean omz-0277" in result.stderr


def test_terms_are_shown_and_must_be_accepted(shipped: Path) -> None:
    (shipped / "here.bin").write_bytes(b"it")
    refused = run("fetch", "here", expect=3)
    assert "Home: for research only" in refused.stderr
    assert "give --yes" in refused.stderr
    taken = run("fetch", "here", "--yes")
    assert f"Here: {shipped / 'here.bin'}" in taken.stdout
    assert "as known" in taken.stdout
    outcome = json.loads(run("fetch", "here", "--yes", "--json").stdout)
    assert outcome["files"][0]["is_as_published"] is True


def test_a_model_that_only_the_user_can_fetch_is_taken_from_a_file(
    shipped: Path, tmp_path: Path
) -> None:
    assert shipped.is_dir()
    assert "Write to its author." in run("fetch", "asked", "--yes", expect=5).stderr
    copy = tmp_path / "copy.bin"
    copy.write_bytes(b"mine")
    text = run("fetch", "asked", "--yes", "--from", str(copy)).stdout
    assert "kept to compare with" in text
    assert "--weights asked" in text


def test_the_pixels_of_a_graph_are_shown(shipped: Path) -> None:
    assert "as a graph it takes" not in run("show", "here").stdout
    assert json.loads(run("show", "here", "--json").stdout)["pixels"] is None
    assert shipped.is_dir()


def test_pixels_are_those_of_the_preset() -> None:
    text = run("show", "omz-0277").stdout
    assert "as a graph it takes BGR in 0..255, mean [0, 0, 0]" in text


@pytest.mark.parametrize("name", ["one", "nothing"])
def test_a_card_of_no_run_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "one").mkdir()
    result = run("card", str(tmp_path / name), expect=5)
    assert str(tmp_path / name) in result.stderr
