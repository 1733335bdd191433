"""A gallery kept by the real commands: built once, changed, asked, and made to forget."""

import hashlib
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from reid.container.root import Container
from tests.builders import build_market1501
from tests.e2e.program import as_json, run

ENCODER = ("--recipe", "tiny", "--weights", "random")


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """8 queries of 4 people, and 8 + 2 gallery images of them and of distractors."""
    return build_market1501(tmp_path / "people", junk=0)


@pytest.fixture
def gallery(people: Path, tmp_path: Path) -> Path:
    place = tmp_path / "gallery"
    build(place, people / "bounding_box_test")
    return place


def build(
    place: Path, images: Path, *options: str | Path, command: str = "build", expect: int = 0
) -> Any:
    arguments = ("gallery", command, place, images, *ENCODER, *options)
    if expect:
        return run(*arguments, expect=expect)
    return as_json(run(*arguments, "--json"))


def listed(place: Path) -> Any:
    return as_json(run("gallery", "list", place, "--json"))


def identify(people: Path, place: Path, *options: str | Path, expect: int = 0) -> Result:
    return run(
        "identify", people / "query", "--gallery", place, *ENCODER, "--json", *options,
        expect=expect,
    )  # fmt: skip


def counts(outcome: Any) -> tuple[int, ...]:
    changes = outcome["changes"]
    names = ("num_embedded", "num_updated", "num_unchanged", "num_removed")
    return tuple(changes[name] for name in names)


def traces(place: Path, text: str) -> list[str]:
    return [path.name for path in place.rglob("*") if text.encode() in path.read_bytes()]


def test_a_gallery_is_built_once_and_asked_without_embedding_it(
    people: Path, gallery: Path
) -> None:
    folder = people / "bounding_box_test"
    from_folder = as_json(identify(people, folder, "--no-cache"))
    shutil.rmtree(folder)
    from_gallery = as_json(identify(people, gallery))
    assert from_gallery["changes"] is None
    assert from_gallery["gallery"] == str(gallery)
    assert from_gallery["identifications"] == from_folder["identifications"]
    assert from_gallery["num_gallery"] == 10
    keys = {kept["key"] for answer in from_gallery["identifications"] for kept in answer["images"]}
    assert keys <= set(range(1, 11))


def test_only_what_is_new_is_embedded(people: Path, gallery: Path) -> None:
    folder = people / "bounding_box_test"
    assert counts(build(gallery, folder)) == (0, 0, 10, 0)
    more = build_market1501(people.with_name("more"), test_identities=50, junk=0, seed=1)
    hundred = more / "bounding_box_test"
    num_new = len(list(hundred.glob("*.jpg")))
    assert num_new >= 100
    assert counts(build(gallery, hundred, command="add")) == (num_new, 0, 0, 0)
    assert listed(gallery)["content"]["num_images"] == 10 + num_new


def test_a_gallery_follows_its_folder(people: Path, gallery: Path) -> None:
    folder = people / "bounding_box_test"
    first, second, *_ = sorted(folder.glob("*.jpg"))
    first.unlink()
    second.rename(folder / f"9{second.name[1:]}")
    assert counts(build(gallery, folder)) == (0, 1, 8, 2)
    table = run("gallery", "list", gallery, "--audit").stdout
    assert "9 images of" in table
    assert [line.split()[1] for line in table.splitlines()[-3:]] == ["build", "build", "remove"]


def test_a_plain_folder_is_embedded_once_and_that_is_said(people: Path) -> None:
    folder = people / "bounding_box_test"
    first, second = (as_json(identify(people, folder)) for _ in range(2))
    assert counts(first) == (10, 0, 0, 0)
    assert counts(second) == (0, 0, 10, 0)
    assert first["identifications"] == second["identifications"]
    assert first["gallery"] == second["gallery"] != str(folder)
    table = run("identify", people / "query", "--gallery", folder, *ENCODER).stdout
    assert f"Gallery: {first['gallery']}, 0 of 10 images embedded now" in table
    without = as_json(identify(people, folder, "--no-cache"))
    assert counts(without) == (10, 0, 0, 0)
    other = as_json(identify(people, folder, "--seed", "7"))
    assert counts(other) == (10, 0, 0, 0)
    assert other["gallery"] != first["gallery"]


def test_the_cache_s_place_is_a_setting(people: Path, tmp_path: Path) -> None:
    cache = tmp_path / "mine"
    arguments = ("--set", f"gallery.cache={cache}")
    outcome = as_json(identify(people, people / "bounding_box_test", *arguments))
    assert Path(outcome["gallery"]).parent == cache
    assert cache.stat().st_mode & 0o077 == 0
    blocked = tmp_path / "file"
    blocked.write_text("")
    arguments = ("--set", f"gallery.cache={blocked}")
    refused = identify(people, people / "bounding_box_test", *arguments, expect=8)
    assert "cannot be used" in refused.stderr


def test_people_are_forgotten_in_the_cache_too(people: Path, tmp_path: Path) -> None:
    chosen = ("--set", f"gallery.cache={tmp_path / 'mine'}")
    folder = people / "bounding_box_test"
    place = Path(as_json(identify(people, folder, *chosen))["gallery"])
    (kept,) = as_json(run("gallery", "cache", *chosen, "--json"))["galleries"]
    assert (kept["place"], kept["sources"], kept["num_images"]) == (str(place), [str(folder)], 10)
    label = listed(place)["labels"][-1]["label"]
    run("gallery", "forget", place, label)
    assert label not in {found["label"] for found in listed(place)["labels"]}
    run("gallery", "cache", *chosen, "--clear")
    assert not place.exists()


def test_another_encoder_is_refused_with_both_named(people: Path, gallery: Path) -> None:
    for refused in (
        identify(people, gallery, "--seed", "7", expect=8),
        build(gallery, people / "query", "--seed", "7", command="add", expect=8),
    ):
        assert "random (seed 1234)" in refused.stderr
        assert "random (seed 7)" in refused.stderr
        assert str(gallery) in refused.stderr


def test_a_forgotten_person_leaves_no_trace_but_a_digest(people: Path, gallery: Path) -> None:
    folder = people / "bounding_box_test"
    name = min(folder.glob("0001*.jpg")).name
    assert traces(gallery, name)
    outcome = as_json(run("gallery", "forget", gallery, "0001", "--json"))
    assert (outcome["num_images"], outcome["num_left"]) == (2, 8)
    assert traces(gallery, name) == []
    entry = listed(gallery)["audit"][-1]
    assert entry["action"] == "forget"
    assert entry["subject"] == f"sha256:{hashlib.sha256(b'0001').hexdigest()}"
    assert "0001" not in {found["label"] for found in listed(gallery)["labels"]}
    answers = as_json(identify(people, gallery))["identifications"]
    assert all(kept["label"] != "0001" for answer in answers for kept in answer["images"])
    refused = run("gallery", "forget", gallery, "0001", expect=8)
    assert "'0001'" in refused.stderr


def test_expired_images_are_erased_by_the_next_check(people: Path, gallery: Path) -> None:
    with Container.now.override(lambda: "2020-01-01T00:00:00Z"):
        build(gallery, people / "query", "--expire-after", "30d", command="add")
    content = listed(gallery)
    assert content["num_expiring"] == len(list((people / "query").glob("*.jpg")))
    outcome = as_json(run("gallery", "check", gallery, "--json"))
    assert outcome["num_expired"] == content["num_expiring"]
    assert outcome["faults"] == []
    assert listed(gallery)["audit"][-1]["action"] == "expire"
    assert listed(gallery)["content"]["num_images"] == 10
    assert "no fault" in run("gallery", "check", gallery).stdout


def test_damage_is_named_and_ends_with_8(gallery: Path) -> None:
    (vectors,) = gallery.glob("vectors-*")
    content = bytearray(vectors.read_bytes())
    content[10] ^= 0x40
    vectors.write_bytes(bytes(content))
    result = run("gallery", "check", gallery, expect=8)
    assert ".jpg" in result.stdout
    assert "has 1 fault" in result.stderr


def test_building_from_one_image_takes_no_other_out(people: Path, gallery: Path) -> None:
    before = listed(gallery)["content"]["num_images"]
    one = min((people / "bounding_box_test").glob("*.jpg"))
    refused = run("gallery", "build", gallery, one, *ENCODER, expect=4)
    assert "is one image, and a gallery follows a folder" in refused.stderr
    assert listed(gallery)["content"]["num_images"] == before
    assert "unchanged 1, removed 0" in run("gallery", "add", gallery, one, *ENCODER).stdout


def test_images_are_removed_by_name_or_label_all_or_none(people: Path, gallery: Path) -> None:
    first, second, *_ = sorted((people / "bounding_box_test").glob("*.jpg"))
    refused = run("gallery", "remove", gallery, first.name, "nobody.jpg", expect=8)
    assert "'nobody.jpg'" in refused.stderr
    assert listed(gallery)["content"]["num_images"] == 10
    outcome = as_json(run("gallery", "remove", gallery, first.name, second, "--json"))
    assert (outcome["num_images"], outcome["num_left"]) == (2, 8)
    label = listed(gallery)["labels"][-1]
    removed = run("gallery", "remove", gallery, "--label", label["label"]).stdout
    assert f"Removed {label['num_images']} image" in removed
    assert "Compacted" in run("gallery", "compact", gallery).stdout
    assert "no fault" in run("gallery", "check", gallery).stdout
    assert run("gallery", "remove", gallery, expect=2).stderr


def test_a_label_that_begins_with_a_dash_is_forgotten_behind_two(
    people: Path, tmp_path: Path
) -> None:
    place, one = tmp_path / "gallery", min((people / "bounding_box_test").glob("*.jpg"))
    (people / "bounding_box_test" / "list.csv").write_text(f"path,label\n{one.name},-anna\n")
    build(place, people / "bounding_box_test" / "list.csv")
    assert "No such option" in run("gallery", "forget", place, "-anna", expect=2).stderr
    assert "write --" in run("gallery", "forget", "--help").stdout
    assert "Erased 1 image; 0 left" in run("gallery", "forget", place, "--", "-anna").stdout


def test_an_export_comes_back_as_it_was(people: Path, gallery: Path, tmp_path: Path) -> None:
    file, other = tmp_path / "people.archive", tmp_path / "other"
    run("gallery", "export", gallery, file)
    run("gallery", "import", other, file)
    answers = [as_json(identify(people, place))["identifications"] for place in (gallery, other)]
    assert answers[0] == answers[1]
    assert listed(other)["labels"] == listed(gallery)["labels"]
    assert [listed(place)["audit"][-1]["action"] for place in (gallery, other)] == [
        "export",
        "import",
    ]
    refused = run("gallery", "export", gallery, file, expect=8)
    assert "exists" in refused.stderr
    # Imported again, nothing is added.
    content = as_json(run("gallery", "import", other, file, "--json"))
    assert content["num_images"] == 10
    # What is imported is known by its content, too.
    assert counts(build(other, people / "bounding_box_test", command="add")) == (0, 10, 0, 0)


def test_a_damaged_export_leaves_nothing(gallery: Path, tmp_path: Path) -> None:
    file, other = tmp_path / "people.archive", tmp_path / "other"
    run("gallery", "export", gallery, file)
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(bytes(content))
    assert "digest" in run("gallery", "import", other, file, expect=8).stderr
    assert not other.exists()


def test_unreadable_images_are_listed_and_the_others_kept(people: Path, tmp_path: Path) -> None:
    folder = people / "bounding_box_test"
    whole = min(folder.glob("*.jpg"))
    (folder / "0001_c1s1_999999_00.jpg").write_bytes(whole.read_bytes()[:200])
    result = build(tmp_path / "gallery", folder, expect=4)
    assert "0001_c1s1_999999_00.jpg" in result.stderr
    assert "1 image cannot be read" in result.stderr
    assert listed(tmp_path / "gallery")["content"]["num_images"] == 10


def test_thumbnails_are_kept_only_where_asked_for(people: Path, tmp_path: Path) -> None:
    folder = people / "bounding_box_test"
    build(tmp_path / "plain", folder)
    build(tmp_path / "shown", folder, "--thumbnails")
    jpeg = b"\xff\xd8\xff"
    found = {
        name: jpeg in (tmp_path / name / "gallery.sqlite").read_bytes()
        for name in ("plain", "shown")
    }
    assert found == {"plain": False, "shown": True}


@pytest.mark.parametrize("command", ["list", "check", "compact"])
def test_a_missing_gallery_is_named(tmp_path: Path, command: str) -> None:
    result = run("gallery", command, tmp_path / "none", expect=8)
    assert str(tmp_path / "none") in result.stderr
    assert not (tmp_path / "none").exists()


def test_identify_says_how_to_make_a_gallery_that_is_missing(people: Path, tmp_path: Path) -> None:
    refused = identify(people, tmp_path / "none", expect=8)
    assert f"reid gallery build {tmp_path / 'none'}" in refused.stderr


def test_a_gallery_is_not_made_among_other_files(people: Path) -> None:
    folder = people / "bounding_box_test"
    before = sorted(folder.iterdir())
    assert "holds other files" in build(folder, folder, expect=8).stderr
    assert sorted(folder.iterdir()) == before


def test_an_expiry_that_is_no_time_is_refused(people: Path, tmp_path: Path) -> None:
    refused = build(tmp_path / "gallery", people / "query", "--expire-after", "soon", expect=3)
    assert "gallery.expire_after" in refused.stderr
    assert "30d" in refused.stderr
    assert not (tmp_path / "gallery").exists()
