import itertools
from pathlib import Path
from random import Random

import numpy as np
import pytest
from PIL import Image

from reid.adapters.datasets.market1501 import Market1501
from reid.adapters.images.market_names import parse_market_name
from reid.adapters.synthetic.figures import SUPERSAMPLING, Figure, Pose
from reid.adapters.synthetic.generator import MARKER, DrawnDataset, GenerationReport
from reid.adapters.synthetic.people import BAGS, HAIRCUTS, LOWERS, PATTERNS, invent_people
from reid.adapters.synthetic.scenes import Camera
from reid.application.check_dataset import check_dataset
from reid.domain.errors import ConfigurationError, DatasetError
from reid.domain.values.samples import ImageSize, Split

TINY = ImageSize(32, 16)


def generate(
    root: Path,
    *,
    seed: int = 0,
    identities: int = 3,
    images_per_camera: int = 2,
    test_identities: int = 2,
    cameras: int = 3,
    overwrite: bool = False,
) -> GenerationReport:
    return DrawnDataset(
        identities=identities,
        images_per_camera=images_per_camera,
        test_identities=test_identities,
        cameras=cameras,
        distractors=3,
        junk=2,
        size=TINY,
        seed=seed,
    ).draw(root, overwrite=overwrite)


def contents(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
    }


def test_the_report_counts_what_lies_on_disk(tmp_path: Path) -> None:
    report = generate(tmp_path / "drawn")
    assert report == GenerationReport(
        num_train=18,
        num_query=6,
        num_gallery=15,
        num_junk=2,
        identities=3,
        test_identities=2,
        cameras=3,
    )
    files = {
        folder: len(list((tmp_path / "drawn" / folder).iterdir()))
        for folder in ("bounding_box_train", "query", "bounding_box_test")
    }
    assert files == {"bounding_box_train": 18, "query": 6, "bounding_box_test": 17}


def test_the_dataset_check_finds_nothing_to_complain_of(tmp_path: Path) -> None:
    generate(tmp_path / "drawn")
    report = check_dataset(Market1501(tmp_path / "drawn"))
    assert report.problems == ()
    assert [one.num_cameras for one in report.statistics] == [3, 3, 3]


def test_file_names_and_images_are_market1501s(tmp_path: Path) -> None:
    generate(tmp_path / "drawn")
    for path in (tmp_path / "drawn").glob("*/*"):
        assert parse_market_name(path.name) is not None
        with Image.open(path) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (16, 32))


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        generate(tmp_path / name, seed=seed)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert contents(tmp_path / "a") != contents(tmp_path / "c")


def test_people_differ_in_clothes_even_in_a_crowd() -> None:
    people = invent_people(Random(0), 300)
    looks = {(one.pattern, one.upper, one.lower_kind, one.lower) for one in people}
    assert len(looks) == 300


@pytest.mark.parametrize(
    ("counts", "problem"),
    [
        ({"identities": 0}, "identities must be at least 1, got 0"),
        ({"images_per_camera": 0}, "images_per_camera must be at least 1"),
        ({"test_identities": -1}, "test_identities must be at least 1"),
        ({"cameras": 1}, "cameras must be at least 2, got 1; a query needs a match"),
        ({"identities": 9999}, "at most 9999 people can be drawn, got 10001"),
    ],
)
def test_counts_out_of_range_are_refused_before_anything_is_drawn(
    tmp_path: Path, counts: dict[str, int], problem: str
) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        generate(tmp_path / "drawn", **counts)  # type: ignore[arg-type]  # dict[str, int] fits all but overwrite
    assert not list(tmp_path.iterdir())


def test_negative_numbers_of_distractors_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="distractors must be at least 0"):
        DrawnDataset(identities=1, images_per_camera=1, test_identities=1, distractors=-1)


def test_a_folder_with_anything_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(DatasetError, match="is not empty"):
            generate(tmp_path, overwrite=overwrite)
    assert contents(tmp_path) == {"thesis.txt": b"years of work"}


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "drawn").touch()
    with pytest.raises(DatasetError, match="drawn is a file"):
        generate(tmp_path / "drawn")


def test_an_empty_folder_is_filled_and_missing_parents_are_made(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    generate(tmp_path / "empty")
    generate(tmp_path / "a" / "b")
    assert contents(tmp_path / "empty") == contents(tmp_path / "a" / "b")


def test_a_folder_drawn_earlier_is_replaced_only_when_asked(tmp_path: Path) -> None:
    generate(tmp_path / "drawn", seed=1)
    before = contents(tmp_path / "drawn")
    with pytest.raises(DatasetError, match="ask to overwrite"):
        generate(tmp_path / "drawn", seed=2)
    assert contents(tmp_path / "drawn") == before
    generate(tmp_path / "drawn", seed=2, overwrite=True)
    assert contents(tmp_path / "drawn") != before
    assert [path.name for path in tmp_path.iterdir()] == ["drawn"]


def test_the_marker_says_that_nobody_here_exists(tmp_path: Path) -> None:
    generate(tmp_path / "drawn")
    assert "do not exist" in (tmp_path / "drawn" / MARKER).read_text(encoding="ascii")


def test_an_interrupted_run_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []

    def interrupt(camera: Camera, figures: Image.Image, random: Random) -> Image.Image:
        drawn.append(figures)
        if len(drawn) == 3:
            raise KeyboardInterrupt
        return photograph(camera, figures, random)

    photograph = Camera.photograph
    monkeypatch.setattr(Camera, "photograph", interrupt)
    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path / "drawn")
    assert not list(tmp_path.iterdir())


def test_a_target_that_cannot_be_made_is_a_dataset_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DatasetError, match="cannot be written"):
        generate(tmp_path / "file" / "drawn")


def test_every_garment_can_be_drawn_from_every_side() -> None:
    people = invent_people(Random(1), 60)
    seen = {part for one in people for part in (one.pattern, one.lower_kind, one.haircut, one.bag)}
    assert seen == {*PATTERNS, *LOWERS, *HAIRCUTS, *BAGS}
    for person, quarter in itertools.product(people, range(8)):
        canvas = Image.new("RGBA", (16 * SUPERSAMPLING, 32 * SUPERSAMPLING), (0, 0, 0, 0))
        pose = Pose(quarter * 0.785, stride=0.4, centre=0.5, top=0.04, scale=0.9)
        Figure(canvas, person, pose).draw()
        alpha = np.asarray(canvas.reduce(SUPERSAMPLING))[..., 3]
        assert 0.1 < (alpha > 128).mean() < 0.7  # a person, neither a dot nor a wall
        assert (alpha[7:14, 8] > 128).all()  # a trunk without gaps; the legs may stand apart


def test_a_person_looks_more_like_themself_than_like_others_once_light_is_evened(
    tmp_path: Path,
) -> None:
    DrawnDataset(
        identities=1,
        images_per_camera=4,
        test_identities=12,
        cameras=3,
        size=ImageSize(64, 32),
        seed=2,
    ).draw(tmp_path / "drawn")
    dataset = Market1501(tmp_path / "drawn")
    samples = dataset.samples(Split.GALLERY)
    centres = []
    for sample in samples:
        with Image.open(tmp_path / "drawn" / sample.name) as image:
            middle = image.crop((12, 12, 20, 52)).resize((1, 5), Image.Resampling.BOX)
            centres.append(np.asarray(middle, dtype=np.float64).reshape(-1))
    camids = np.array([sample.camid for sample in samples])
    pids = np.array([sample.pid for sample in samples])
    looks = np.stack(centres)
    for camid in range(3):
        looks[camids == camid] -= looks[camids == camid].mean(axis=0)
    distances = np.linalg.norm(looks[:, None] - looks[None], axis=2)
    across = camids[:, None] != camids[None]
    same = pids[:, None] == pids[None]
    assert distances[across & same].mean() < 0.75 * distances[across & ~same].mean()
