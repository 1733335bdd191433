import os
import shutil
from pathlib import Path

import pytest

from reid.adapters.datasets.market1501 import Market1501
from reid.adapters.images.market_names import parse_market_name
from reid.domain.errors import DatasetError
from reid.domain.values.samples import Annotation, Sample, Split, SplitStatistics
from tests.builders import build_market1501

FOLDERS = ("bounding_box_train", "query", "bounding_box_test")
NAME = "0002_c1s1_000451_03.jpg"


def touch(root: Path, *names: str, folder: str = "bounding_box_train") -> Path:
    """Make the three folders with an image each, and more empty files in one of them."""
    for each in FOLDERS:
        (root / each).mkdir(parents=True, exist_ok=True)
    for name in names:
        (root / folder / name).touch()
    return root


@pytest.mark.parametrize(
    ("name", "parsed"),
    [
        ("0002_c1s1_000451_03.jpg", Annotation(2, 0)),
        ("0002_c1s1_000451_03.jpg.jpg", Annotation(2, 0)),
        ("-1_c6s3_086567_01.jpg", Annotation(-1, 5)),
        ("0000_c3s1_000151_01.jpg", Annotation(0, 2)),
        ("4012_c15_x.png", Annotation(4012, 14)),
        ("holiday.jpg", None),
        ("x0002_c1s1.jpg", None),
        ("1-2_c1s1.jpg", None),
        ("-7_c1s1.jpg", None),
        ("0002_c0s1.jpg", None),
        ("0002_cs1.jpg", None),
        ("\u0664_c1s1.jpg", None),
    ],
)
def test_a_name_tells_person_and_camera_or_nothing(name: str, parsed: Annotation | None) -> None:
    assert parse_market_name(name) == parsed


@pytest.mark.parametrize(
    "folder", ["", "Market-1501-v15.09.15", "Market-1501", "market1501", "Market"]
)
def test_the_root_or_its_parent_may_be_given(tmp_path: Path, folder: str) -> None:
    touch(tmp_path / folder, NAME)
    samples = Market1501(tmp_path).samples(Split.TRAIN)
    assert samples == (Sample(f"bounding_box_train/{NAME}", pid=2, camid=0),)


def test_any_folder_with_the_three_folders_will_do(tmp_path: Path) -> None:
    dataset = Market1501(touch(tmp_path / "my people", NAME))
    assert dataset.name == "my people"
    assert len(dataset.samples(Split.TRAIN)) == 1


def test_other_files_are_passed_over_and_odd_endings_accepted(tmp_path: Path) -> None:
    root = touch(
        tmp_path,
        "0001_c1.JPG",
        "0002_c1.jpg.jpg",
        "0003_c1.jpeg",
        "0004_c1.PNG",
        "0005_c1.txt",
        "._0006_c1.jpg",
        "Thumbs.db",
        "0007_c1",
        "0008_c1.jfif",
        "0009_c1.jpe",
    )
    assert [sample.pid for sample in Market1501(root).samples(Split.TRAIN)] == [1, 2, 3, 4, 8, 9]


def test_names_that_do_not_parse_are_kept_apart_rather_than_lost(tmp_path: Path) -> None:
    dataset = Market1501(touch(tmp_path, "b.jpg", NAME, "a.jpg", "-1_c1s1_000401_03.jpg"))
    assert len(dataset.samples(Split.TRAIN)) == 1
    assert dataset.unparsed_names(Split.TRAIN) == (
        "bounding_box_train/a.jpg",
        "bounding_box_train/b.jpg",
    )


def test_pid_zero_is_kept_wherever_it_stands(tmp_path: Path) -> None:
    dataset = Market1501(touch(tmp_path, "0000_c1.jpg", "0001_c1.jpg"))
    assert [sample.pid for sample in dataset.samples(Split.TRAIN)] == [0, 1]


def test_a_camera_with_two_digits_is_read_whole(tmp_path: Path) -> None:
    dataset = Market1501(touch(tmp_path, "0001_c10s1.jpg", "0001_c1s1.jpg"))
    assert {sample.camid for sample in dataset.samples(Split.TRAIN)} == {0, 9}


def test_the_listing_is_read_once(tmp_path: Path) -> None:
    dataset = Market1501(touch(tmp_path, NAME))
    before = dataset.samples(Split.TRAIN)
    touch(tmp_path, "0001_c1.jpg")
    assert dataset.samples(Split.TRAIN) == before


def test_a_missing_root_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"nowhere does not exist; give the folder that holds"):
        Market1501(tmp_path / "nowhere").samples(Split.TRAIN)


def test_a_file_is_no_root(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DatasetError, match="is not a folder"):
        Market1501(tmp_path / "file").samples(Split.TRAIN)


def test_a_root_without_the_folders_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"bounding_box_train.*Market-1501-v15\.09\.15"):
        Market1501(tmp_path).samples(Split.TRAIN)


def test_a_missing_folder_is_named_and_the_others_still_work(tmp_path: Path) -> None:
    root = build_market1501(tmp_path / "market")
    shutil.rmtree(root / "query")
    dataset = Market1501(root)
    with pytest.raises(DatasetError, match=r"market/query cannot be listed: No such file"):
        dataset.samples(Split.QUERY)
    with pytest.raises(DatasetError, match=r"market/query"):
        dataset.unparsed_names(Split.QUERY)
    assert dataset.samples(Split.GALLERY)


def test_an_empty_split_is_an_error_that_counts_odd_names(tmp_path: Path) -> None:
    dataset = Market1501(touch(tmp_path, "a.jpg", "-1_c1.jpg"))
    with pytest.raises(DatasetError, match=r"\(1 image named otherwise\); put the train"):
        dataset.samples(Split.TRAIN)


def test_the_builder_counts_what_it_was_asked_for(tmp_path: Path) -> None:
    dataset = Market1501(build_market1501(tmp_path / "m", identities=3, cameras=3))
    counted = [SplitStatistics.of(split, dataset.samples(split)) for split in Split]
    assert counted == [
        SplitStatistics(Split.TRAIN, num_identities=3, num_images=18, num_cameras=3),
        SplitStatistics(Split.QUERY, num_identities=4, num_images=12, num_cameras=3),
        SplitStatistics(Split.GALLERY, num_identities=5, num_images=14, num_cameras=3),
    ]


@pytest.mark.skipif(
    "REID_MARKET1501_ROOT" not in os.environ,
    reason="REID_MARKET1501_ROOT does not point to the real Market-1501",
)
def test_the_real_market1501_has_its_published_counts() -> None:
    dataset = Market1501(Path(os.environ["REID_MARKET1501_ROOT"]))
    counted = [SplitStatistics.of(split, dataset.samples(split)) for split in Split]
    assert counted == [
        SplitStatistics(Split.TRAIN, num_identities=751, num_images=12_936, num_cameras=6),
        SplitStatistics(Split.QUERY, num_identities=750, num_images=3_368, num_cameras=6),
        SplitStatistics(Split.GALLERY, num_identities=751, num_images=15_913, num_cameras=6),
    ]
    assert all(dataset.unparsed_names(split) == () for split in Split)
