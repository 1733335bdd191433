"""`reid calibrate`, and what `reid identify` says of unknown people."""

import csv
import json
from contextlib import closing
from io import StringIO
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from reid.adapters.galleries.filesystem.gallery import open_filesystem_gallery
from reid.adapters.images.folders import open_images
from reid.adapters.indexes.exact import ExactIndex
from reid.container.root import Container
from reid.settings.loading import load_settings
from tests.e2e.program import as_json, run

ENCODER = ("--encoder", "rn-tiny", "--weights", "random")


@pytest.fixture
def gallery(people: Path, tmp_path: Path) -> Path:
    """A gallery on the disk, of the drawn people's gallery images."""
    settings = load_settings(options={"encoder.kind": "rn-tiny", "encoder.weights": "random"})
    container = Container(settings=settings.settings, num_cameras=0)
    source = open_images(people / "bounding_box_test")
    enrolment = container.enrolment()
    folder = tmp_path / "gallery"
    opened = open_filesystem_gallery(folder, create=True, create_index=ExactIndex)
    with closing(opened) as kept:
        enrolment.enroll(
            kept, source, mirrors=True, fingerprint=enrolment.fingerprint_for(source.images())
        )
    return folder


def test_a_calibration_is_printed_drawn_and_kept(
    people: Path, gallery: Path, tmp_path: Path
) -> None:
    plot = tmp_path / "plot.svg"
    arguments = (people / "query", "--gallery", gallery, *ENCODER, "--false-accept-rate", "0.25")
    table = run("calibrate", *arguments, "--plot", plot).stdout
    assert "too few unknown people" in table
    assert f"Kept in {gallery}: unknown below " in table
    assert ET.parse(plot).getroot().tag.endswith("svg")
    outcome = as_json(run("calibrate", *arguments, "--json", "--plot", tmp_path / "plot.png"))
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    with closing(open_filesystem_gallery(gallery, create=False, create_index=ExactIndex)) as kept:
        (calibration,) = kept.describe().calibrations
    assert outcome["calibration"]["threshold"] == calibration.threshold
    assert outcome["report"]["num_known"] == outcome["report"]["num_unknown"] == 4
    assert [p["false_accept_rate"] for p in outcome["report"]["points"]] == [0.001, 0.01, 0.1, 0.25]


def test_what_a_plot_cannot_be_written_to_is_named_before_any_work(people: Path) -> None:
    plot = Path("nowhere") / "plot.svg"
    failed = run("calibrate", people / "query", "--gallery", "nothing", "--plot", plot, expect=3)
    assert "nowhere is not a folder" in failed.stderr
    failed = run("calibrate", people, "--gallery", "nothing", "--plot", "plot.pdf", expect=2)
    assert "plot.pdf should end in .svg or .png" in failed.stderr


def test_a_rate_that_so_few_unknown_people_cannot_show_is_refused(
    people: Path, gallery: Path
) -> None:
    failed = run("calibrate", people / "query", "--gallery", gallery, *ENCODER, expect=7)
    assert "4 queries of unknown people cannot show a false-accept rate of 0.01" in failed.stderr


def test_queries_below_a_similarity_are_unknown_in_every_form(people: Path) -> None:
    arguments = ("identify", people / "query", "--gallery", people / "bounding_box_test", *ENCODER)
    answers = as_json(run(*arguments, "--unknown", "0.9999999", "--json"))
    assert answers["threshold"] == 0.9999999
    assert all(answer["is_unknown"] for answer in answers["identifications"])
    assert answers["num_correct"] == 0
    table = run(*arguments, "--unknown", "0.9999999").stdout
    assert "unknown (" in table
    assert "Unknown: 8 of 8 queries, below a similarity of 1.000" in table
    rows = list(csv.DictReader(StringIO(run(*arguments, "--unknown", "-1", "--csv").stdout)))
    assert {row["is_unknown"] for row in rows} == {"False"}
    assert {row["confidence"] for row in rows} == {""}


@pytest.mark.parametrize("fusion", ["best", "mean", "vote"])
def test_tracklets_are_answered_once_each(people: Path, fusion: str) -> None:
    arguments = ("identify", people / "query", "--gallery", people / "bounding_box_test", *ENCODER)
    single = as_json(run(*arguments, "--fusion", fusion, "--json"))
    assert len(single["identifications"]) == 8
    by_folder = as_json(
        run(*arguments[:1], people / "bounding_box_test", *arguments[2:], "--fusion", fusion,
            "--tracklets", "--json")
    )  # fmt: skip
    shown = [answer["names"] or [answer["name"]] for answer in by_folder["identifications"]]
    assert sorted(image for images in shown for image in images) == sorted(
        path.name for path in (people / "bounding_box_test").glob("*.jpg")
        if not path.name.startswith("-1")
    )  # fmt: skip
    assert len(shown) < sum(map(len, shown))
    assert by_folder["fusion"].endswith("tracklets")


def test_reranked_answers_say_so_and_means_are_refused(people: Path) -> None:
    arguments = ("identify", people / "query", "--gallery", people / "bounding_box_test", *ENCODER)
    reranked = run(*arguments, "--rerank", "--fusion", "best")
    assert "Re-ranked: " in reranked.stdout
    failed = run(*arguments, "--rerank", "--fusion", "mean", expect=3)
    assert "re-rank with best or vote" in failed.stderr


def test_images_by_some_cameras_and_of_some_days_alone_are_looked_at(
    people: Path, gallery: Path
) -> None:
    arguments = ("identify", people / "query", "--gallery", gallery, *ENCODER)
    found = as_json(run(*arguments, "--seen-by", "1", "--added-from", "2020-01-01", "--json"))
    assert found["looked_at"] == "by camera 1, added from 2020-01-01T00:00:00Z"
    answers = found["identifications"]
    assert {image["camera"] for answer in answers for image in answer["images"]} == {"1"}
    assert "Looked at: images by camera 1 2\n" in run(
        *arguments, "--seen-by", "1", "--seen-by", "2"
    ).stdout  # fmt: skip
    refused = run(*arguments, "--added-until", "2020-01-01", expect=8)
    assert "look at more than images added before 2020-01-01T00:00:00Z" in refused.stderr


def test_a_similarity_that_is_none_is_named(people: Path) -> None:
    arguments = ("identify", people / "query", "--gallery", people / "bounding_box_test", *ENCODER)
    failed = run(*arguments, "--unknown", "perhaps", expect=3)
    assert "identify.unknown" in failed.stderr
    assert json.dumps(failed.stdout) == '""'
