"""A picture compared with itself, and answers that no threshold decides."""

import csv
import shutil
from pathlib import Path

import pytest

from tests.e2e.program import as_json, run

pytestmark = pytest.mark.usefixtures("bare_environment")

ENCODER = ("--encoder", "rn-tiny", "--weights", "random")
ITSELF = "find themselves"


@pytest.fixture
def twice(people: Path, tmp_path: Path) -> Path:
    """Lists the queries as the gallery too, by other cameras' word."""
    shutil.copytree(people, tmp_path / "people")
    rows = [
        (f"people/query/{path.name}", path.name[:4], path.name[6], split)
        for split in ("query", "gallery")
        for path in sorted((people / "query").glob("*.jpg"))
    ] + [
        (f"people/bounding_box_train/{path.name}", path.name[:4], path.name[6], "train")
        for path in sorted((people / "bounding_box_train").glob("*.jpg"))
    ]
    place = tmp_path / "list.csv"
    with place.open("w", newline="") as file:
        csv.writer(file).writerows([("path", "pid", "camid", "split"), *rows])
    return place


def test_an_evaluation_warns_of_queries_that_are_their_own_answers(twice: Path) -> None:
    arguments = ("evaluate", "--data", twice, "--dataset", "csv", *ENCODER)
    num_queries = twice.read_text().count(",query\n") or twice.read_text().count(",query\r\n")
    found = run(*arguments, "--no-same-camera-rule", "--json")
    assert len(as_json(found)["queries_in_gallery"]) == num_queries > 1
    assert f"the very picture of {num_queries} query images is in the gallery" in found.stderr
    assert "finds itself" in run(*arguments, "--no-same-camera-rule").stdout


def test_a_check_names_queries_that_are_in_the_gallery(twice: Path) -> None:
    checked = run("dataset", "check", twice, "--dataset", "csv")
    assert ITSELF in checked.stdout + checked.stderr


def test_an_evaluation_of_other_pictures_has_no_such_warning(people: Path) -> None:
    found = run("evaluate", "--data", people, *ENCODER, "--json")
    assert as_json(found)["queries_in_gallery"] == []
    assert "very picture" not in found.stderr


def test_a_folder_asked_about_itself_is_warned_of(people: Path) -> None:
    folder = people / "query"
    found = run("identify", folder, "--gallery", folder, *ENCODER, "--json")
    num_queries = len(list(folder.glob("*.jpg")))
    assert len(as_json(found)["queries_in_gallery"]) == num_queries
    assert f"very picture of {num_queries} query images" in found.stderr
    assert "finds itself" in run("identify", folder, "--gallery", folder, *ENCODER).stdout
    other = run("identify", folder, "--gallery", people / "bounding_box_test", *ENCODER)
    assert "very picture" not in other.stdout


def test_without_a_threshold_nothing_is_decided_and_that_is_said(people: Path) -> None:
    arguments = ("identify", people / "query", "--gallery", people / "bounding_box_test", *ENCODER)
    answers = as_json(run(*arguments, "--json"))
    assert answers["threshold"] is None
    assert {answer["is_unknown"] for answer in answers["identifications"]} == {None}
    assert {answer["threshold"] for answer in answers["identifications"]} == {None}
    assert "Unknown: no threshold is set, so everybody gets a name" in run(*arguments).stdout
