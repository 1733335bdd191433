"""The library: the same answers as the command line's, in a few lines."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reid import Reid
from reid.domain.errors import CheckpointError, ConfigurationError, DatasetError, GalleryError
from tests.e2e.program import as_json, run


@pytest.fixture(scope="module")
def reid(trained: Path) -> Reid:
    return Reid(run=trained)


def test_an_image_has_the_same_vector_by_path_by_content_and_by_pixels(
    reid: Reid, people: Path
) -> None:
    path = sorted((people / "query").glob("*.jpg"))[0]
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    ways = [reid.embed(way) for way in (path, str(path), path.read_bytes(), pixels)]
    assert all(np.array_equal(ways[0], other) for other in ways[1:])
    assert isinstance(ways[0], np.ndarray)
    assert ways[0].dtype == np.float32
    assert np.linalg.norm(ways[0], axis=1) == pytest.approx(1, abs=1e-5)


def test_a_folder_is_embedded_in_the_order_of_its_names(reid: Reid, people: Path) -> None:
    folder = people / "query"
    listed = reid.embed(sorted(folder.glob("*.jpg")))
    assert np.allclose(reid.embed(folder), listed, atol=1e-6)
    assert len(listed) == len(list(folder.glob("*.jpg")))


def test_images_may_come_one_by_one_as_a_glob_gives_them(reid: Reid, people: Path) -> None:
    paths = sorted((people / "query").glob("*.jpg"))
    assert np.array_equal(reid.embed(path for path in paths), reid.embed(paths))


def test_it_answers_as_the_command_does(
    reid: Reid, trained: Path, people: Path, tmp_path: Path
) -> None:
    place = tmp_path / "gallery"
    with reid.gallery(place) as gallery:
        built = gallery.build(people / "bounding_box_test")
        outcome = reid.identify(people / "query", gallery)
    assert built.changes.num_embedded == built.content.num_images
    told = as_json(
        run("identify", people / "query", "--gallery", place, "--run", trained, "--json")
    )
    answers = told["identifications"]
    assert [answer.label for answer in outcome.identifications] == [
        answer["label"] for answer in answers
    ]
    assert reid.identify(people / "query", place).identifications == outcome.identifications


def test_a_plain_folder_does_for_a_gallery(reid: Reid, people: Path) -> None:
    folder = people / "bounding_box_test"
    first = reid.identify(people / "query", folder)
    again = reid.identify(people / "query", folder)
    assert again.identifications == first.identifications
    assert again.changes is not None
    assert again.changes.num_embedded == 0


def test_a_person_is_added_named_and_forgotten(reid: Reid, people: Path, tmp_path: Path) -> None:
    contents = [path.read_bytes() for path in sorted((people / "query").glob("*.jpg"))]
    with reid.gallery(tmp_path / "gallery") as gallery:
        gallery.add(contents[0], label="anna")
        added = gallery.add(contents[1:3], label="ben", camera="1")
        assert added.changes.num_embedded == 2
        assert gallery.add(contents[1:3], label="ben", camera="1").changes.num_embedded == 0
        (answer,) = reid.identify(contents[0], gallery).identifications
        assert answer.label == "anna"
        assert answer.similarity == pytest.approx(1.0, abs=1e-5)
        assert gallery.forget("anna").num_images == 1
        assert [person.label for person in gallery.contents().labels] == ["ben"]
        assert gallery.remove(labels=["ben"]).num_left == 0
        assert gallery.check().faults == ()


def test_any_setting_can_be_given(people: Path) -> None:
    settings = {"encoder.kind": "rn-tiny", "encoder.weights": "random", "seed": 3}
    vectors = Reid(settings=settings).embed(people / "query")
    other = Reid(settings=settings | {"seed": 4}).embed(people / "query")
    assert vectors.shape == other.shape
    assert not np.array_equal(vectors, other)


def test_mistakes_are_told(reid: Reid, people: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no trained encoder: .* its run by run=\.\.\., or"):
        Reid(run=tmp_path)
    with pytest.raises(ConfigurationError, match=r"encoder\.kin"):
        Reid(settings={"encoder.kin": "rn50"})
    with pytest.raises(
        ConfigurationError,
        match=r"^run=\.\.\. and weights=\.\.\. name two",
    ):
        Reid(run="a", weights="b")
    with pytest.raises(DatasetError, match="no image was given"):
        reid.embed([])
    with pytest.raises(DatasetError, match="None"):
        reid.embed(None)  # type: ignore[arg-type]
    with pytest.raises(DatasetError, match="no order of colours"):
        reid.embed(people / "query", channels="gbr")  # type: ignore[arg-type]
    with pytest.raises(DatasetError, match="uint8"):
        reid.embed(np.zeros((4, 4), dtype=np.uint8))
    with pytest.raises(DatasetError, match=r"array of \(0, 4, 3\)"):
        reid.embed(np.zeros((0, 4, 3), dtype=np.uint8))
    with pytest.raises(DatasetError, match="cannot be read"):
        reid.embed(b"no image")
    with pytest.raises(DatasetError, match="label"):
        reid.gallery(tmp_path / "new").add(np.zeros((8, 4, 3), dtype=np.uint8))
    for label in (67, "  "):
        with pytest.raises(DatasetError, match="is not a name"):
            reid.gallery(tmp_path / "new").add(people / "a.jpg", label=label)  # type: ignore[arg-type]
    with pytest.raises(GalleryError):
        reid.gallery(tmp_path / "none").check()


def test_opencv_s_frames_are_answered_as_the_files_are(
    reid: Reid, people: Path, tmp_path: Path
) -> None:
    paths = sorted((people / "query").glob("*.jpg"))
    frames = [np.asarray(Image.open(path).convert("RGB"))[:, :, ::-1] for path in paths]
    with reid.gallery(tmp_path / "gallery") as gallery:
        gallery.build(people / "bounding_box_test")
        of_files, of_frames, turned = (
            [answer.label for answer in outcome.identifications]
            for outcome in (
                reid.identify(paths, gallery),
                reid.identify(frames, gallery, channels="bgr"),
                reid.identify(frames, gallery),
            )
        )
    assert of_files == of_frames != turned


def test_equal_frames_and_boxes_of_frames_are_answered_one_by_one(
    reid: Reid, people: Path, tmp_path: Path
) -> None:
    first, second, *_ = sorted((people / "query").glob("*.jpg"))
    people_side_by_side = np.concatenate(
        [np.asarray(Image.open(path).convert("RGB")) for path in (first, second)], axis=1
    )
    height, width = people_side_by_side.shape[0], people_side_by_side.shape[1] // 2
    boxes = [[0, 0, width, height], [width, 0, 2 * width, height]]
    expected = reid.embed([first, second])
    assert np.allclose(reid.embed(people_side_by_side, boxes=boxes), expected, atol=1e-6)
    assert reid.embed(people_side_by_side, boxes=[]).shape == (0, expected.shape[1])
    twice = reid.embed([first, first])
    assert np.array_equal(twice[0], twice[1])
    with reid.gallery(tmp_path / "gallery") as gallery:
        assert gallery.add([first, first], label="anna").content.num_images == 1
        gallery.add(people_side_by_side, boxes=boxes[1:], label="ben")
        asked = reid.identify([people_side_by_side] * 2, gallery, boxes=[boxes, boxes[:1]])
        assert [answer.label for answer in asked.identifications] == ["anna", "ben", "anna"]
        assert reid.identify(people_side_by_side, gallery, boxes=[]).identifications == ()


def test_by_an_empty_gallery_everybody_is_unknown_until_somebody_is_added(
    reid: Reid, people: Path, tmp_path: Path
) -> None:
    path = sorted((people / "query").glob("*.jpg"))[0]
    with reid.gallery(tmp_path / "gallery") as gallery:
        for _ in range(2):
            (answer,) = reid.identify([path], gallery).identifications
            assert (answer.is_unknown, answer.label, answer.similarity) == (True, None, None)
            assert answer.images == ()
            gallery.add(path, label="anna")
            (answer,) = reid.identify([path], gallery).identifications
            assert (answer.is_unknown, answer.label) == (None, "anna")
            gallery.remove(labels=["anna"])
    with pytest.raises(GalleryError, match="is empty"):
        reid.identify([path], tmp_path / "gallery")


def test_another_encoder_is_refused(reid: Reid, people: Path, tmp_path: Path) -> None:
    gallery = reid.gallery(tmp_path / "gallery")
    gallery.build(people / "bounding_box_test")
    other = Reid(settings={"encoder.kind": "vit-tiny", "encoder.weights": "random"})
    with pytest.raises(GalleryError, match="was made by"):
        other.identify(people / "query", tmp_path / "gallery")
    gallery.close()


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    code = "import reid; reid.Read"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "has no attribute 'Read'" in done.stderr
