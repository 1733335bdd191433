"""What commands do with bad pictures and odd data, as a user meets it."""

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.builders import build_market1501
from tests.e2e.program import as_json, run, train

RANDOM = ("--encoder", "vit-tiny", "--weights", "random", "--set", "encoder.image_size=[32,16]")


def spoil(root: Path) -> list[str]:
    """Break a picture of each list in a way of its own; return their names."""
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


def test_training_lists_all_bad_pictures_before_it_writes_anything(
    spoiled: tuple[Path, list[str]], tmp_path: Path
) -> None:
    root, names = spoiled
    stopped = train(root, tmp_path / "run", expect=4)
    assert "3 pictures of market cannot be read:" in stopped.stderr
    assert all(name in stopped.stderr for name in names)
    assert "--skip-bad" in stopped.stderr
    assert not (tmp_path / "run").exists()


def test_training_told_to_skip_bad_pictures_names_them_in_its_report_and_record(
    spoiled: tuple[Path, list[str]], tmp_path: Path
) -> None:
    root, names = spoiled
    outcome = as_json(train(root, tmp_path / "run", "--skip-bad", "--json"))["outcome"]
    assert [bad["image"] for bad in outcome["left_out"]] == names[:1]
    assert [bad["image"] for bad in outcome["evaluation"]["left_out"]] == names[1:]
    manifest = json.loads((tmp_path / "run" / "run.json").read_text())
    assert [bad["image"] for bad in manifest["circumstances"]["left_out"]] == names[:1]
    record = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert [bad["image"] for bad in record["left_out"]] == names[1:]
    assert record["data"]["query"]["num_images"] == outcome["evaluation"]["report"]["num_queries"]
    again = run("reproduce", tmp_path / "run", "--data", root)
    assert "differ" not in again.stdout


def test_evaluation_lists_all_bad_pictures_unless_told_to_skip_them(
    spoiled: tuple[Path, list[str]],
) -> None:
    root, names = spoiled
    stopped = run("evaluate", *RANDOM, "--data", root, expect=4)
    assert all(name in stopped.stderr for name in names)
    told = run("evaluate", *RANDOM, "--data", root, "--skip-bad")
    assert "Left out: 2 query or gallery pictures that cannot be read" in told.stdout
    assert all(name in told.stdout for name in names[1:])


def test_identify_answers_for_every_readable_picture_and_lists_the_rest(
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
    assert "4 pictures cannot be read, so left out:" in answered.stderr
    for name in (*(Path(name).name for name in names[1:]), r"0001_c1s1_\xff.jpg", "gone.jpg"):
        assert name in answered.stderr


def test_a_gallery_keeps_every_readable_picture_and_its_command_says_what_it_left_out(
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
    assert as_json(listed)["content"]["num_pictures"] == readable
