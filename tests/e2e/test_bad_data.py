"""What commands do with bad images and odd data, as a user meets it."""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.builders import build_market1501
from tests.e2e.program import as_json, run, train

RANDOM = ("--encoder", "vit-tiny", "--weights", "random", "--set", "encoder.image_size=[32,16]")


def spoil(root: Path) -> list[str]:
    """Break an image of each list in a way of its own; return their names."""
    cut, empty, pipe = (
        min((root / folder).glob("0*.jpg"))
        for folder in ("bounding_box_train", "query", "bounding_box_test")
    )
    cut.write_bytes(cut.read_bytes()[:-200] + b"\xff\xd9")
    empty.write_bytes(b"")
    pipe.unlink()
    os.mkfifo(pipe)
    return [str(path.relative_to(root)) for path in (cut, empty, pipe)]


@pytest.fixture
def spoiled(tmp_path: Path) -> tuple[Path, list[str]]:
    root = build_market1501(tmp_path / "market", identities=6, images_per_camera=3)
    return root, spoil(root)


def test_training_lists_all_bad_images_before_it_writes_anything(
    spoiled: tuple[Path, list[str]], tmp_path: Path
) -> None:
    root, names = spoiled
    stopped = train(root, tmp_path / "run", expect=4)
    assert "3 images of market cannot be read:" in stopped.stderr
    assert all(name in stopped.stderr for name in names)
    assert "--skip-bad" in stopped.stderr or "dataset.skip_bad" in stopped.stderr
    assert not (tmp_path / "run").exists()


def test_training_told_to_skip_bad_images_names_them_in_its_report_and_record(
    spoiled: tuple[Path, list[str]], tmp_path: Path
) -> None:
    root, names = spoiled
    outcome = as_json(train(root, tmp_path / "run", "--skip-bad", "--json"))["outcome"]
    assert [bad["name"] for bad in outcome["left_out"]] == names[:1]
    assert [bad["name"] for bad in outcome["evaluation"]["left_out"]] == names[1:]
    manifest = json.loads((tmp_path / "run" / "run.json").read_text())
    assert [bad["name"] for bad in manifest["environment"]["left_out"]] == names[:1]
    record = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert [bad["name"] for bad in record["left_out"]] == names[1:]
    assert record["data"]["query"]["num_images"] == outcome["evaluation"]["report"]["num_queries"]
    again = run("reproduce", tmp_path / "run", "--data", root)
    assert "is not reproduced" not in again.stderr


def test_evaluation_lists_all_bad_images_unless_told_to_skip_them(
    spoiled: tuple[Path, list[str]],
) -> None:
    root, names = spoiled
    stopped = run("evaluate", *RANDOM, "--data", root, expect=4)
    assert all(name in stopped.stderr for name in names)
    told = run("evaluate", *RANDOM, "--data", root, "--skip-bad")
    assert "Left out: 2 query or gallery images that cannot be read" in told.stdout
    assert all(name in told.stdout for name in names[1:])


def test_identify_answers_for_every_readable_image_and_lists_the_rest(
    spoiled: tuple[Path, list[str]],
) -> None:
    root, names = spoiled
    odd = root / "query" / os.fsdecode(b"0001_c1s1_\xff.jpg")
    shutil.copy(max((root / "query").glob("*.jpg")), odd)
    (root / "query" / "gone.jpg").symlink_to("nowhere")
    (root / "query" / "folder.jpg").mkdir()
    answered = run(
        "identify", root / "query", "--gallery", root / "bounding_box_test", *RANDOM, "--json",
        expect=4,
    )  # fmt: skip
    answers = json.loads(answered.stdout)
    num_queries = len(list((root / "query").glob("*.jpg")))
    assert len(answers["identifications"]) == num_queries - 4
    assert "4 query images cannot be read, so left out:" in answered.stderr
    assert "1 gallery image cannot be read, so left out:" in answered.stderr
    others = (r"0001_c1s1_\xff.jpg", "gone.jpg", "folder.jpg: not a regular file")
    for name in (*(Path(name).name for name in names[1:]), *others):
        assert name in answered.stderr


def test_a_gallery_keeps_every_readable_image_and_its_command_says_what_it_left_out(
    spoiled: tuple[Path, list[str]], tmp_path: Path
) -> None:
    root, names = spoiled
    for command in ("build", "add"):
        told = run(
            "gallery", command, tmp_path / "gallery", root / "bounding_box_test", *RANDOM, expect=4
        )
        assert Path(names[2]).name in told.stderr
    listed = run("gallery", "list", tmp_path / "gallery", "--json")
    readable = len(list((root / "bounding_box_test").glob("0*.jpg"))) - 1
    assert as_json(listed)["content"]["num_images"] == readable


# Odd data


def image(root: Path, folder: str, number: int = 0) -> Path:
    return sorted((root / folder).glob("0*.jpg"))[number]


@pytest.fixture
def market(tmp_path: Path) -> Path:
    return build_market1501(tmp_path / "market", identities=6, images_per_camera=3)


def absent_from_the_gallery(root: Path) -> str:
    for path in (root / "bounding_box_test").glob("0001_*.jpg"):
        path.unlink()
    return "query identities missing from the gallery: 1 (1)"


def one_image_of_somebody(root: Path) -> str:
    for path in sorted((root / "bounding_box_train").glob("0002_*.jpg"))[1:]:
        path.unlink()
    return "training identities with a single image: 1 (2)"


def trained_on_and_tested_with(root: Path) -> str:
    source = image(root, "bounding_box_test", -1)
    pid = int(source.name[:4])
    shutil.copy(source, root / "bounding_box_train" / f"{pid:04d}_c1s1_999999_00.jpg")
    return f"identities both in training and in query or gallery: 1 ({pid})"


@pytest.mark.parametrize(
    "change", [absent_from_the_gallery, one_image_of_somebody, trained_on_and_tested_with]
)
def test_odd_data_are_said_by_the_check_and_where_they_are_trained_on(
    change: Callable[[Path], str], market: Path, tmp_path: Path
) -> None:
    finding = change(market)
    assert finding in run("dataset", "check", market).stdout
    trained = train(market, tmp_path / "run")
    assert f"Warning: {finding}" in trained.stderr


def test_one_camera_is_no_evaluation_by_the_protocol_and_one_without_it(market: Path) -> None:
    for folder in ("query", "bounding_box_test"):
        for path in (market / folder).glob("*_c2*.jpg"):
            path.unlink()
    checked = run("dataset", "check", market).stdout
    assert re.search(
        r"cameras in query and gallery \(.*same_camera_rule=false compares within one\): 1", checked
    )
    stopped = run("evaluate", *RANDOM, "--data", market, expect=7)
    assert "evaluate without it (" in stopped.stderr
    told = run("evaluate", *RANDOM, "--data", market, "--no-same-camera-rule")
    assert "Warning: queries without a match from another camera" in told.stderr
    assert "Queries: 4 of 4 have a true match" in told.stdout


def test_an_empty_training_list_is_an_error_of_training_and_none_of_evaluation(
    market: Path, tmp_path: Path
) -> None:
    for path in (market / "bounding_box_train").glob("*.jpg"):
        path.unlink()
    for stopped in (
        run("dataset", "check", market, expect=4),
        train(market, tmp_path / "run", expect=4),
    ):
        assert "bounding_box_train holds no image" in stopped.stderr
    run("evaluate", *RANDOM, "--data", market)


def test_copies_are_said_by_the_check_and_contradictions_among_them(market: Path) -> None:
    folder = market / "bounding_box_train"
    source = image(market, "bounding_box_train")
    shutil.copy(source, folder / "0002_c1s1_888888_00.jpg")
    shutil.copy(source, folder / "0005_c1s1_999999_00.jpg")
    checked = run("dataset", "check", market).stdout
    assert "images that are copies of another one: 2 (" in checked
    wrong = "copies that are of another person than the original: 1 ("
    assert f"{wrong}bounding_box_train/0005_c1s1_999999_00.jpg)" in checked
